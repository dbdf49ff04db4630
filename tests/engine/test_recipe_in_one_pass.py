"""The recipe of DESIGN in one pass equals the same steps by hand in float64."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import load_file

from loralathe.engine import RunOptions, run_recipe
from loralathe.errors import InputError
from loralathe.language import read_recipe

from .reference import Target, add_lora, as_float64, assert_within_contract, lora_delta, lora_names, targets

RECIPE = """
[inputs]
A    = "A.safetensors"
B    = "B.safetensors"
hina = "lora.safetensors"

[variables]
M = 0.7
rank = 4

[blocks]
HinaBlock = "{blocks}"

[steps]
A1     = "A + 0.7*hina@HinaBlock"
lora1  = "extract(A1 - A, rank=rank)"
B1     = "B + 0.8*lora1"
B2     = "B1 {sign} M*(B - A)"
lora2  = "extract(B2 - B, rank=8)"

[save]
B2    = {{ file = "B2-{name}.safetensors", dtype = "fp16" }}
lora2 = {{ file = "lora2-{name}.safetensors", dtype = "fp32" }}
"""
BLOCKS = {
    "sd1": "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,1,1,1,1,1",
    "sdxl": "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1",
}


@pytest.mark.quick(1)
@pytest.mark.parametrize(("name", "sign"), [("minus", "-"), ("plus", "+")])
@pytest.mark.long
def test_recipe_of_the_article(family, name, sign):
    path = family.folder / f"{name}.toml"
    path.write_text(RECIPE.format(blocks=BLOCKS[family.name], sign=sign, name=name))
    report = run_recipe(read_recipe(path), RunOptions(hash_inputs=False, force=True))

    A, B = as_float64(family.tensors["A"]), as_float64(family.tensors["B"])
    multiplier = 0.7 if sign == "+" else -0.7
    weights = _weights(family.name)

    def strength(_: str, place: Target) -> float:
        # lora1 has the rank of hina, so nothing is truncated: 0.8 · 0.7 · block weight.
        return 0.8 * 0.7 * weights[place.long]

    expected, terms = add_lora(family.name, B, family.tensors["lora"], strength)
    expected = {key: value + multiplier * (B[key] - A[key]) for key, value in expected.items()}

    saved = load_file(family.folder / f"B2-{name}.safetensors")
    for key, value in expected.items():
        spread = np.abs(A[key]) + 2 * np.abs(B[key]) + terms.get(key, 0.0)
        if saved[key].is_floating_point() and "logit_scale" not in key:
            # lora1 is a decomposition in fp32 of fp16 factors: its own rounding is relative to the term.
            slack = 64 * 2.0**-24 * terms.get(key, 0.0)
            assert_within_contract(saved[key], value, spread, slack, key)

    delta = {key: value - B[key] for key, value in expected.items()}
    _check_extraction(family, load_file(family.folder / f"lora2-{name}.safetensors"), delta, rank=8)
    extraction = report.extractions[0]
    assert extraction.total().energy == pytest.approx(
        sum(float(np.square(value).sum()) for key, value in delta.items() if "position_ids" not in key),
        rel=1e-4,
    )


def _weights(name: str) -> dict[str, float]:
    names = {
        "sd1": "BASE IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11",
        "sdxl": "BASE IN04 IN05 IN07 IN08 MID OUT00 OUT01 OUT02 OUT03 OUT04 OUT05",
    }[name].split()
    return dict(zip(names, map(float, BLOCKS[name].split(",")), strict=True))


def _check_extraction(family, lora, delta, rank):
    """Every module's error against the optimum of its rank (Eckart–Young), found by numpy in float64."""
    assert set(lora_names(lora)) == set(lora_names(family.tensors["lora"]))
    total = optimum = 0.0
    for name in lora_names(lora):
        place = targets(family.name)[name]
        matrix = delta[place.key].reshape(delta[place.key].shape[0], -1)
        if place.third is not None:
            rows = matrix.shape[0] // 3
            matrix = matrix[place.third * rows : (place.third + 1) * rows]
        total += float(np.square(matrix - lora_delta(lora, name)).sum())
        optimum += float(np.square(np.linalg.svd(matrix, compute_uv=False)[rank:]).sum())
    assert total <= optimum * 1.01**2


@pytest.mark.long
def test_rounded_steps_are_the_file_by_file_way(sd1, evaluate, tmp_path):
    """`fp16(A1)` gives what saving A1 in fp16 and loading it again gives, to the bit."""
    from safetensors.torch import save_file

    merged, _ = evaluate(sd1, "A + 0.7*lora", dtype="fp16")
    save_file(merged, tmp_path / "A1.safetensors")
    inputs = {"A": sd1.path("A"), "B": sd1.path("B"), "A1": tmp_path / "A1.safetensors"}
    by_file, _ = evaluate(sd1, "B + (A1 - A)", inputs=inputs, dtype="fp32")
    in_one, _ = evaluate(sd1, "B + (fp16(A + 0.7*lora) - A)", dtype="fp32")
    for key, value in by_file.items():
        np.testing.assert_array_equal(value.numpy(), in_one[key].numpy(), err_msg=key)


@pytest.mark.long
def test_a_rounded_merge_is_extracted_as_its_file_would_be(sd1, evaluate, tmp_path):
    """The sum over A is 0 here, and yet A is needed: what was rounded does not cancel what was not."""
    from safetensors.torch import save_file

    merged, _ = evaluate(sd1, "A + 0.7*lora", dtype="fp16")
    save_file(merged, tmp_path / "A1.safetensors")
    inputs = {"A": sd1.path("A"), "A1": tmp_path / "A1.safetensors"}
    by_file, _ = evaluate(sd1, "extract(A1 - A, rank=4)", inputs=inputs, dtype="fp32")
    in_one, _ = evaluate(sd1, "extract(fp16(A + 0.7*lora) - A, rank=4)", dtype="fp32")
    assert in_one.keys() == by_file.keys()
    for name in lora_names(by_file):
        np.testing.assert_allclose(lora_delta(in_one, name), lora_delta(by_file, name), atol=1e-6)


def test_extracting_the_merge_gives_the_lora_back(sd1, evaluate):
    """In exact arithmetic the extracted LoRA is the merged one: no checkpoint is needed to see it."""
    lora, report = evaluate(sd1, "extract((A + 0.7*lora) - A, rank=4)", dtype="fp32")
    for name in lora_names(lora):
        expected = 0.7 * lora_delta(sd1.tensors["lora"], name)
        error = np.linalg.norm(lora_delta(lora, name) - expected) / np.linalg.norm(expected)
        assert error < 2e-6, name
    assert report.extractions[0].total().kept == pytest.approx(report.extractions[0].total().energy)


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        (r'A = "C:\loras\a.safetensors"', "single quotes"),
        (r'A = "C:\temp\new.safetensors"', "single quotes"),
        ('A＝"a.safetensors"', "half-width"),
        ('A = "a.safetensors', "texts stand in quotes"),
    ],
)
def test_a_line_that_toml_reads_otherwise(tmp_path, line, fix):
    path = tmp_path / "r.toml"
    path.write_text(f"[inputs]\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    assert fix in caught.value.fix
    assert "line 2" in str(caught.value)


def test_windows_paths_that_toml_reads_as_written(tmp_path):
    path = tmp_path / "r.toml"
    lines = ("[inputs]", r"A = 'C:\temp\a.safetensors'", r'B = "C:\\temp\\b.safetensors"  # "C:\temp"')
    path.write_text("\n".join((*lines, "[steps]", 'x = "0.5*A + 0.5*B"')), encoding="utf-8")
    assert [file.name for file in read_recipe(path).inputs.values()] == [
        r"C:\temp\a.safetensors",
        r"C:\temp\b.safetensors",
    ]
