"""What reports say of rounding equals docs/semantics.md §8 in float64: every dtype, one part and several."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.engine import Held, Report, RunOptions, run_recipe
from loralathe.language import Save, make_recipe

from .reference import Array, as_float64, lora_delta

Deltas = Mapping[str, Array]
Parts = dict[str, Deltas]

BASES = {
    "A": torch.float16,
    "brain": torch.bfloat16,
    "single": torch.float32,
    "e4m3": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
}
LARGE = "double_blocks.1."
STEPS = {
    **{f"lora on {name}": f"{name} + 0.05*lora" for name in BASES},
    "single cast": "single + 0.05*lora",
    "overlap": "e4m3 + 0.2*lora + 0.3*other",
    "nearly cancel": "A + 0.3*lora - 0.29*same",
    "cancel": "brain + 0.3*lora - 0.3*same",
    "with difference": "e5m2 + 0.2*lora + 0.5*(B - A)",
    "mixed": "0.6*A + 0.4*B",
    "by name": "add_difference(A, B, brain, 0.3)",
    "one block": "(A + 0.3*(B - A)@'*=0,D01=1') + 0.1*other",
    "large block": "large + lora@'D01=0.05'",
    "nothing": "0.5*A + 0.5*A",
    "lost": "e4m3 + 0.0004*lora",
    "lost in part": "brain + lora@'*=0,D00=1' + 0.00002*other@'*=0,S00=1'",
    "method": "slerp(A, B, 0.3) + 0.1*lora",
}


@dataclass(frozen=True)
class Results:
    """One run that saves all steps, and its inputs."""

    folder: Path
    report: Report
    inputs: Mapping[str, Mapping[str, torch.Tensor]]

    def weights(self, name: str) -> dict[str, Array]:
        return as_float64(self.inputs[name])

    def of(self, step: str):
        return next(found.rounding for found in self.report.weights if found.step == name_of(step))

    def saved(self, step: str) -> dict[str, Array]:
        return as_float64(load_file(self.folder / f"{name_of(step)}.safetensors"))

    def lora(self, name: str, strength: float) -> Deltas:
        tensors, found = self.inputs[name], {}
        for key, value in self.weights("A").items():
            module = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
            has = key.endswith(".weight") and f"{module}.alpha" in tensors
            found[key] = strength * lora_delta(tensors, module) if has else np.zeros_like(value)
        return found

    def difference(self, one: str, other: str, factor: float) -> Deltas:
        left, right = self.weights(one), self.weights(other)
        return {key: factor * (left[key] - right[key]) for key in left}


def name_of(step: str) -> str:
    return "to_" + step.replace(" ", "_")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    folder = tmp_path_factory.mktemp("rounding")
    base = tiny_checkpoint("flux-alone", seed=21, width_divisor=64)
    lora, other = (
        tiny_lora("flux-alone", rank=rank, alpha=2.0, seed=rank, width_divisor=64) for rank in (4, 3)
    )
    large = {key: value * 16 if LARGE in key else value for key, value in base.items()}
    inputs = {name: stored_as(base, dtype) for name, dtype in BASES.items()}
    inputs |= {"large": stored_as(large, torch.bfloat16), "B": second_checkpoint(base, 2e-2, seed=22)}
    inputs |= {"lora": lora, "same": lora, "other": other}
    for name, tensors in inputs.items():
        write_safetensors(folder / f"{name}.safetensors", tensors)
    recipe = make_recipe(
        inputs={name: folder / f"{name}.safetensors" for name in inputs},
        steps={name_of(step): formula for step, formula in STEPS.items()},
        saves=[
            Save(name_of(step), folder / f"{name_of(step)}.safetensors", "bf16" if "cast" in step else None)
            for step in STEPS
        ],
    )
    return Results(folder, run_recipe(recipe, RunOptions(hash_inputs=False)), inputs)


def stored_as(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors.items()}


def assert_as_in_float64(found: Held, base: Deltas, saved: Deltas, parts: Parts, keys: Iterable[str]) -> None:
    """held, error, and held of each part, over some tensors."""

    def inner(one: Deltas, other: Deltas) -> float:
        return sum(float((one[key] * other[key]).sum()) for key in keys)

    keys = list(keys)
    change = {key: sum(part[key] for part in parts.values()) for key in keys}
    moved = {key: saved[key] - base[key] for key in keys}
    lost = {key: moved[key] - change[key] for key in keys}
    energy = inner(change, change)
    assert found.held == pytest.approx(inner(moved, change) / energy, rel=1e-4, abs=1e-4)
    assert found.error == pytest.approx((inner(lost, lost) / energy) ** 0.5, rel=1e-3, abs=1e-5)
    assert list(found.parts) == list(parts)
    for name, part in parts.items():
        share = 1 + inner(lost, part) / inner(part, part)
        assert found.parts[name] == pytest.approx(share, rel=1e-4, abs=1e-4), name


PARTS: Mapping[str, tuple[str, Callable[[Results], Parts]]] = {
    **{f"lora on {name}": (name, lambda of: {"lora": of.lora("lora", 0.05)}) for name in BASES},
    "single cast": ("single", lambda of: {"lora": of.lora("lora", 0.05)}),
    "overlap": ("e4m3", lambda of: {"lora": of.lora("lora", 0.2), "other": of.lora("other", 0.3)}),
    "nearly cancel": ("A", lambda of: {"lora": of.lora("lora", 0.3), "same": of.lora("same", -0.29)}),
    "with difference": (
        "e5m2",
        lambda of: {"lora": of.lora("lora", 0.2), "B - A": of.difference("B", "A", 0.5)},
    ),
    "mixed": ("A", lambda of: {"B - A": of.difference("B", "A", 0.4)}),
    "by name": ("A", lambda of: {"B - brain": of.difference("B", "brain", 0.3)}),
    "lost": ("e4m3", lambda of: {"lora": of.lora("lora", 0.0004)}),
}


@pytest.mark.parametrize("step", PARTS)
def test_the_file_in_float64(results, step):
    base, parts = PARTS[step]
    weights = results.weights(base)
    found = results.of(step).total
    assert_as_in_float64(found, weights, results.saved(step), parts(results), weights)


def test_the_worst_block_is_named(results):
    """Weights that are large beside the change keep the least of it."""
    worst, weights = results.of("large block").worst, results.weights("large")
    assert worst.block == "D01"
    keys = [key for key in weights if LARGE in key]
    parts = {"lora": results.lora("lora", 0.05)}
    assert_as_in_float64(worst, weights, results.saved("large block"), parts, keys)


def test_block_weights_leave_a_part_to_its_block(results):
    found = results.of("one block")
    weights, saved = results.weights("A"), results.saved("one block")
    change = results.difference("B", "A", 0.3)
    parts = {
        "other": results.lora("other", 0.1),
        "B - A": {key: value if LARGE in key else 0 * value for key, value in change.items()},
    }
    assert_as_in_float64(found.total, weights, saved, parts, weights)


@pytest.mark.parametrize("step", ["nothing", "cancel"])
def test_nothing_added(results, step):
    found = results.of(step)
    assert (found.total.held, found.total.error, found.worst) == (None, None, None)


def test_a_method_is_one_part(results):
    found = results.of("method").total
    assert list(found.parts) == ["lora", "slerp(A, B) - A"]
    assert found.parts["slerp(A, B) - A"] == pytest.approx(1.0, abs=1e-3)


def test_warnings_name_a_dtype_that_holds_it(results):
    lossy = {text.split(".")[0]: text for text in results.report.warnings}
    for step in ("lora on A", "lora on brain", "lora on single", "mixed", "nothing", "method"):
        assert name_of(step) not in lossy
    lost, part, block = (lossy[name_of(step)] for step in ("lost", "lost in part", "large block"))
    assert "holds 0.0 % of what is added" in lost
    assert re.search(r"holds \S+ % of other", part)
    assert re.search(r"holds \S+ % of what is added in D01", block)
    assert 'dtype="fp32" holds it' in lost
    assert 'dtype="fp16" holds it' in block


def test_of_large_layers_a_sample_is_measured(results, tmp_path, monkeypatch):
    for name, size in (("job.BAND", 1 << 10), ("measure.BAND", 1 << 10), ("measure.CHUNK", 1 << 8)):
        monkeypatch.setattr(f"loralathe.engine.{name}", size)
    recipe = make_recipe(
        inputs={name: results.folder / f"{name}.safetensors" for name in ("brain", "lora")},
        steps={"merged": "brain + 0.05*lora"},
        saves=[Save("merged", tmp_path / "merged.safetensors")],
    )
    found = run_recipe(recipe, RunOptions(hash_inputs=False)).weights[0].rounding.total
    exact = results.of("lora on brain").total
    assert found != exact
    assert found.held == pytest.approx(exact.held, abs=0.02)
    assert found.error == pytest.approx(exact.error, rel=0.1)
