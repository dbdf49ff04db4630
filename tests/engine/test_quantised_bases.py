"""Formulas on quantised bases, against float64; what is made of them, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import loralathe
from checkpoints import tiny_checkpoint, tiny_lora
from engine.reference import as_float64, assert_within_contract, lora_delta, lora_names, targets
from engine.test_flux import KEYS, UNET
from loralathe.engine import RunOptions, run_recipe
from loralathe.errors import InputError
from loralathe.inspection import compare_files, inspect_file
from loralathe.language import Save, make_recipe
from loralathe.tensorfiles import open_tensorfile
from loralathe.verification import verify_file
from quantised import GGUF, KINDS, quantise
from rendering.conftest import shallow


@pytest.fixture(scope="module")
def flux() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A narrow transformer in bf16, and a LoRA."""
    return tiny_checkpoint("flux-alone", seed=1, dtype="BF16"), tiny_lora(
        "flux-alone", rank=4, alpha=2.0, seed=3
    )


@pytest.fixture(scope="module")
def sdxl() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A whole narrow checkpoint in fp16."""
    return shallow(tiny_checkpoint("sdxl", seed=1)), shallow(tiny_lora("sdxl", rank=4, alpha=2.0, seed=3))


def merged(folder: Path, formula: str, *, dtype: str | None = None, **inputs: Path):
    """The saved file and the report."""
    recipe = make_recipe(
        inputs=inputs, steps={"result": formula}, saves=[Save("result", folder / "out.safetensors", dtype)]
    )
    return folder / "out.safetensors", run_recipe(recipe, RunOptions())


def changes(family: str, lora: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Σ delta of a LoRA by key, in float64."""
    found: dict[str, np.ndarray] = {}
    for name in lora_names(lora):
        if family == "flux":
            found[KEYS[name].removeprefix(UNET)] = lora_delta(lora, name)
        else:
            target = targets("sdxl")[name]
            found.setdefault(target.key, []).append((target.third, lora_delta(lora, name)))  # type: ignore[attr-defined]
    if family == "flux":
        return found
    return {key: np.concatenate([part for _, part in sorted(parts, key=lambda one: one[0] or 0)])
            for key, parts in found.items()}  # type: ignore[attr-defined]  # fmt: skip


@pytest.mark.parametrize("family", ["flux", "sdxl"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.quick(4)
def test_a_merge_is_the_float64_sum(request, tmp_path: Path, kind: str, family: str) -> None:
    base, lora = request.getfixturevalue(family)
    path, exact = quantise(tmp_path, kind, base, {"note": "A"})
    save_file(lora, tmp_path / "lora.safetensors")
    output, report = merged(tmp_path, "A + 0.7*lora", A=path, lora=tmp_path / "lora.safetensors")
    result, added = load_file(output), changes(family, lora)
    # Many codes of 4 bits are 0: there the sum over the rank is all that rounding can be measured by.
    sizes = changes(family, {key: value.abs() for key, value in lora.items()})
    assert result.keys() == base.keys()
    assert exact
    plain = as_float64(base)
    for key, tensor in result.items():
        if key not in plain:
            assert torch.equal(tensor, base[key])
            continue
        weight = exact.get(key, plain[key])
        change = 0.7 * added.get(key, np.zeros(())).reshape(weight.shape if key in added else ())
        assert tensor.dtype == (torch.bfloat16 if key in exact else base[key].dtype) or kind in GGUF
        terms = 0.7 * sizes[key].reshape(weight.shape) if key in added else 0.0
        assert_within_contract(tensor, weight + change, weight, terms, key)
        if key not in exact and key not in added and kind not in GGUF:
            assert torch.equal(tensor, base[key])
    (weights,) = report.weights
    assert weights.dtype == "bf16"
    with open_tensorfile(path) as file, open_tensorfile(output) as made:
        assert weights.buckets.get("read with weights", 0) == len(file.scales)
        assert sum(weights.buckets.values()) + len(file.unused) == len(file.stored.tensors)
        assert not made.is_quantised
    assert weights.rounding.total.held == pytest.approx(1, abs=0.01)
    assert any(f"{len(exact)} tensors of 'A' stored as" in note for note in weights.notes)
    with safe_open(output, "pt") as opened:
        record = json.loads(opened.metadata()["loralathe"])
    assert sum(record["inputs"]["A"]["stored"].values()) == len(exact)
    if family == "flux":  # where there are few tensors
        assert verify_file(output, {"A": path, "lora": tmp_path / "lora.safetensors"}).ok


@pytest.mark.parametrize(("dtype", "wanted"), [("fp16", torch.float16), ("fp32", torch.float32)])
def test_other_dtypes(flux, tmp_path: Path, dtype: str, wanted: torch.dtype) -> None:
    base, _ = flux
    path, exact = quantise(tmp_path, "old fp8", base)
    save_file(base, tmp_path / "B.safetensors")
    output, _ = merged(tmp_path, "A + 0.25*(B - A)", dtype=dtype, A=path, B=tmp_path / "B.safetensors")
    result, plain = load_file(output), as_float64(base)
    for key, weight in exact.items():
        change = 0.25 * (plain[key] - weight)
        assert result[key].dtype == wanted
        assert_within_contract(result[key], weight + change, weight, np.abs(weight) + np.abs(change), key)


def test_fp32_of_what_nothing_changes_is_what_is_read(flux, tmp_path: Path) -> None:
    path, exact = quantise(tmp_path, "int8", flux[0])
    output, _ = merged(tmp_path, "A", dtype="fp32", A=path)
    result = load_file(output)
    for key, weight in exact.items():
        np.testing.assert_array_equal(result[key].numpy(), weight.astype(np.float32))


def test_a_quantised_model_in_second_place(flux, tmp_path: Path) -> None:
    """The output is the first one's in dtypes and names; nothing is said of saving the second."""
    base, _ = flux
    path, exact = quantise(tmp_path, "Q4_0", base)
    save_file(base, tmp_path / "A.safetensors")
    output, report = merged(tmp_path, "A + 0.5*(B - A)", A=tmp_path / "A.safetensors", B=path)
    result, plain = load_file(output), as_float64(base)
    for key, tensor in result.items():
        assert tensor.dtype == base[key].dtype
        change = 0.5 * (exact.get(key, plain[key]) - plain[key])
        assert_within_contract(tensor, plain[key] + change, plain[key], np.abs(plain[key]), key)
    assert report.weights[0].notes == (f"{len(exact)} tensors of 'B' stored as GGUF Q4_0: read as fp32",)
    assert report.weights[0].dtype == "source"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.quick(2)
def test_what_rounding_made_is_under_the_noise_floor(flux, tmp_path: Path, kind: str) -> None:
    """A model and its quantised self differ by nothing that a LoRA could hold."""
    base, _ = flux
    path, _ = quantise(tmp_path, kind, base)
    save_file(base, tmp_path / "A.safetensors")
    found = compare_files(tmp_path / "A.safetensors", path)
    assert found.verdict.kind == "rounding"
    with pytest.raises(InputError, match="what differs lies under the rounding noise of the files"):
        merged(tmp_path, "extract(A - Q, rank=4)", A=tmp_path / "A.safetensors", Q=path)


def test_extraction_from_a_quantised_base(flux, tmp_path: Path) -> None:
    """A LoRA that was merged into it comes back."""
    base, lora = flux
    path, _ = quantise(tmp_path, "old fp8", base)
    big = {key: 6 * value if "lora_up" in key else value for key, value in lora.items()}
    save_file(big, tmp_path / "lora.safetensors")
    step, _ = merged(tmp_path, "Q + lora", Q=path, lora=tmp_path / "lora.safetensors")
    tuned = step.rename(tmp_path / "tuned.safetensors")
    output, _ = merged(tmp_path, "extract(T - Q, rank=4)", T=tuned, Q=path)
    result = load_file(output)
    for name in lora_names(big):
        wanted = lora_delta(big, name)
        assert np.linalg.norm(lora_delta(result, name) - wanted) < 0.02 * np.linalg.norm(wanted)


def test_inspection(flux, tmp_path: Path) -> None:
    path, exact = quantise(tmp_path, "old fp8", flux[0])
    seen = inspect_file(path)
    assert seen.what == "Flux checkpoint, dev"
    assert seen.scales == len(exact) + 1
    assert len(seen.unused) == len(exact)
    assert seen.tensors == len(flux[0])
    assert next(iter(seen.dtypes)) == "scaled fp8 (E4M3)"
    unused = 4 * len(exact)
    assert sum(part.nbytes for part in seen.parts) + unused + 2 == sum(
        tensor.numel() * tensor.element_size() for tensor in load_file(path).values()
    )


def test_plain_fp8_beside_scaled_weights_is_not_kept(flux, tmp_path: Path) -> None:
    """Only a file that is fp8 throughout stays so."""
    base, _ = flux
    path, _ = quantise(tmp_path, "old fp8", base)
    stored = load_file(path)
    stored["img_in.weight"] = base["img_in.weight"].to(torch.float8_e4m3fn)
    del stored["img_in.scale_weight"], stored["img_in.scale_input"]
    save_file(stored, tmp_path / "mixed.safetensors")
    output, _ = merged(tmp_path, "A", A=tmp_path / "mixed.safetensors")
    result = load_file(output)
    assert {tensor.dtype for tensor in result.values()} == {torch.bfloat16}
    assert torch.equal(result["img_in.weight"].float(), stored["img_in.weight"].float())


def test_metadata_of_layers_is_not_copied(flux, tmp_path: Path) -> None:
    """ComfyUI would look for scales that the output does not have."""
    base, _ = flux
    path, exact = quantise(tmp_path, "fp8 rows", base)
    layers = {key.removesuffix(".weight"): {"format": "float8_e5m2"} for key in exact}
    stored = {key: tensor for key, tensor in load_file(path).items() if not key.endswith("comfy_quant")}
    told = {"_quantization_metadata": json.dumps({"layers": layers}), "author": "x"}
    save_file(stored, tmp_path / "told.safetensors", told)
    output, _ = merged(tmp_path, "A", A=tmp_path / "told.safetensors")
    with safe_open(output, "pt") as opened:
        assert "_quantization_metadata" not in opened.metadata()
        assert opened.metadata()["author"] == "x"
        assert set(opened.keys()) == set(base)


@pytest.mark.parametrize("kind", ["old fp8", "Q8_0"])
def test_convert_without_options(flux, tmp_path: Path, kind: str) -> None:
    """It has something to do, and says what it did in the name."""
    path, exact = quantise(tmp_path, kind, flux[0])
    loralathe.convert(path)
    result = load_file(tmp_path / "quantised_bf16.safetensors")
    assert result.keys() == flux[0].keys()
    assert {result[key].dtype for key in exact} == {torch.bfloat16}


def test_in_memory(flux, tmp_path: Path) -> None:
    """A state dict as ComfyUI has it gives the same as the file."""
    base, lora = flux
    path, _ = quantise(tmp_path, "old fp8", base)
    save_file(lora, tmp_path / "lora.safetensors")
    made = loralathe.merge(load_file(path), f"{tmp_path / 'lora.safetensors'}:0.7", output=loralathe.MEMORY)
    output, _ = merged(tmp_path, "A + 0.7*lora", A=path, lora=tmp_path / "lora.safetensors")
    for key, tensor in load_file(output).items():
        assert torch.equal(next(iter(made.tensors.values()))[key], tensor)
