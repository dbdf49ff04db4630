"""project, tsv and iso on factors, against the same computed on whole matrices in float64 numpy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import load_file

import loralathe
from checkpoints import tiny_lora, write_safetensors
from loralathe.errors import InputError

Matrix = NDArray[np.float64]
WIDTH = 32


@pytest.fixture(scope="module")
def loras(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three of SD 1.5; `narrow` has text encoder layers alone, and convolutions take part."""
    folder = tmp_path_factory.mktemp("loras")
    held = {
        "one": tiny_lora("sd1", rank=4, alpha=2, conv_rank=2, seed=1, width_divisor=WIDTH),
        "two": tiny_lora("sd1", rank=3, alpha=3, conv_rank=2, seed=2, width_divisor=WIDTH),
    }
    held["narrow"] = {key: value for key, value in held["two"].items() if key.startswith("lora_te")}
    for name, tensors in held.items():
        write_safetensors(folder / f"{name}.safetensors", tensors)
    return {name: folder / f"{name}.safetensors" for name in held}


def changes(path: Path) -> dict[str, Matrix]:
    """up · down · alpha / rank of each module as a matrix."""
    tensors = {key: value.double().numpy() for key, value in load_file(path).items()}
    found = {}
    for key, down in tensors.items():
        name, _, part = key.partition(".lora_down")
        if part:
            up, alpha = tensors[f"{name}.lora_up.weight"], float(tensors[f"{name}.alpha"])
            found[name] = up.reshape(len(up), -1) @ down.reshape(len(down), -1) * alpha / len(down)
    return found


def made(formula: str, loras: Mapping[str, Path], folder: Path) -> dict[str, Matrix]:
    out = folder / "made.safetensors"
    used = {name: path for name, path in loras.items() if name in formula}
    loralathe.evaluate(f"combine({formula})", used, output=out, dtype="fp32", threads=1)
    return changes(out)


def svd(x: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Without the directions of rounding."""
    u, s, v = np.linalg.svd(x, full_matrices=False)
    found = s > 1e-10 * s[0]
    return u[:, found], s[found], v[found]


def projected(x: Matrix, y: Matrix, share: float, rank: int, side: str) -> Matrix:
    """By whole projection matrices."""
    u, _, v = svd(y)
    u, v = (u[:, :rank], v[:rank]) if rank else (u, v)
    if side in ("in", "both"):
        x = x @ (np.eye(x.shape[1]) - share * v.T @ v)
    if side in ("out", "both"):
        x = (np.eye(x.shape[0]) - share * u @ u.T) @ x
    return x


def same(found: Mapping[str, Matrix], wanted: Mapping[str, Matrix]) -> None:
    assert found.keys() == wanted.keys()
    for name, matrix in wanted.items():
        np.testing.assert_allclose(found[name], matrix, rtol=0, atol=2e-6 * np.abs(matrix).max())


@pytest.mark.parametrize(
    ("arguments", "share", "rank", "side"),
    [
        ("", 1.0, 0, "in"),
        (", mu=1", 0.5, 0, "in"),
        (", mu=0", 0.0, 0, "in"),
        (", 3, rank=1", 0.75, 1, "in"),
        (", side='out'", 1.0, 0, "out"),
        (", mu=1, side='both'", 0.5, 0, "both"),
    ],
)
@pytest.mark.long
def test_project_is_the_projection(
    loras: dict[str, Path], tmp_path: Path, arguments: str, share: float, rank: int, side: str
) -> None:
    one, two = changes(loras["one"]), changes(loras["two"])
    found = made(f"project(0.5*one, two{arguments})", loras, tmp_path)
    same(found, {name: projected(0.5 * one[name], two[name], share, rank, side) for name in one})


def test_it_acts_on_no_direction_of_the_other(loras: dict[str, Path], tmp_path: Path) -> None:
    found, two = made("project(one, two)", loras, tmp_path), changes(loras["two"])
    for name, matrix in found.items():
        assert np.abs(matrix @ svd(two[name])[2].T).max() < 1e-5 * np.abs(matrix).max()


def test_layers_that_the_other_lacks_stay(loras: dict[str, Path], tmp_path: Path) -> None:
    one, narrow = changes(loras["one"]), changes(loras["narrow"])
    found = made("project(one, narrow)", loras, tmp_path)
    wanted = {n: projected(x, narrow[n], 1.0, 0, "in") if n in narrow else x for n, x in one.items()}
    same(found, wanted)
    assert made("project(narrow, one)", loras, tmp_path / "other").keys() == narrow.keys()


def test_tsv_is_that_of_the_paper(loras: dict[str, Path], tmp_path: Path) -> None:
    one, two = changes(loras["one"]), changes(loras["two"])

    def whole(*matrices: Matrix) -> Matrix:
        parts = [svd(matrix) for matrix in matrices]

        def nearest(m: Matrix) -> Matrix:
            p, _, q = np.linalg.svd(m, full_matrices=False)
            return p @ q

        left, right = (
            nearest(np.hstack([u for u, _, _ in parts])),
            nearest(np.hstack([v.T for *_, v in parts])),
        )
        return left @ np.diag(np.concatenate([s for _, s, _ in parts])) @ right.T

    same(made("tsv(one, two)", loras, tmp_path), {name: whole(one[name], two[name]) for name in one})


def test_iso_levels_the_singular_values_of_the_sum(loras: dict[str, Path], tmp_path: Path) -> None:
    one, two = changes(loras["one"]), changes(loras["two"])
    wanted = {}
    for name in one:
        u, s, v = svd(one[name] + two[name])
        wanted[name] = s.mean() * u @ v
    same(made("iso(one, two)", loras, tmp_path), wanted)


def test_they_go_into_models_by_any_part_and_strength(sd1, tmp_path: Path) -> None:
    """In a model and inside another sum it is the LoRA that `combine` makes of it."""
    formula = "project(lora, other, mu=2)"
    paths = {name: sd1.path(name) for name in ("A", "lora", "other")}
    out, merged = tmp_path / "p.safetensors", tmp_path / "m.safetensors"
    loralathe.evaluate(f"combine({formula})", paths, output=out, dtype="fp32", threads=1)
    loralathe.evaluate(f"A + 0.7*{formula} + 0.2*other", paths, output=merged, dtype="fp32", threads=1)
    wanted = tmp_path / "w.safetensors"
    inputs = {"A": paths["A"], "p": out, "other": paths["other"]}
    loralathe.evaluate("A + 0.7*p + 0.2*other", inputs, output=wanted, dtype="fp32", threads=1)
    one, two = load_file(merged), load_file(wanted)
    assert one.keys() == two.keys()
    changed = 0
    for key, tensor in one.items():
        np.testing.assert_allclose(tensor.numpy(), two[key].numpy(), rtol=0, atol=2e-7)
        changed += bool((tensor != sd1.tensors["A"][key]).any())
    assert changed > 20


def test_the_rank_in_the_plan_is_that_of_the_file(loras: dict[str, Path], tmp_path: Path) -> None:
    for formula, rank in (("project(one, two)", 4), ("one + tsv(one, two)", 11)):
        made(formula, loras, tmp_path)
        downs = [
            t for k, t in load_file(tmp_path / "made.safetensors").items() if k.endswith("lora_down.weight")
        ]
        assert max(len(down) for down in downs) == rank
        (tmp_path / "made.safetensors").unlink()


@pytest.mark.parametrize(
    ("formula", "what"),
    [
        ("A + project(lora, B - A)", "factors of LoRAs"),
        ("A + project(lora, A)", "this is weights"),
        ("A + project(lora, other, mu=-1)", "at least 0"),
        ("A + project(lora, other, side='left')", "no side 'left'"),
        ("A + project(lora, other, rank=1.5)", "whole number"),
    ],
)
def test_mistakes(sd1, tmp_path: Path, formula: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        loralathe.evaluate(formula, sd1.paths, output=tmp_path / "x.safetensors", threads=1)


def test_verify_makes_them_again(loras: dict[str, Path], tmp_path: Path) -> None:
    made("project(one, two) + iso(one, two)", loras, tmp_path)
    assert loralathe.verify(tmp_path / "made.safetensors", search=[loras["one"].parent]).ok
