"""The contract in float64 numpy, from name lists and not from our own code: what the engine must agree with.

Which tensor a kohya name changes, and in which block it sits, comes from the manifests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from checkpoints import raw_manifest

Array = np.ndarray
Tensors = Mapping[str, torch.Tensor]

ULP = {torch.float16: 10, torch.bfloat16: 7, torch.float32: 23}
SMALLEST_EXPONENT = {torch.float16: -14, torch.bfloat16: -126, torch.float32: -126}


@dataclass(frozen=True)
class Target:
    """Where a kohya module lands: tensor, third of its rows or None, its blocks (long and short list)."""

    key: str
    third: int | None
    long: str | None
    short: str | None


@cache
def targets(family: str) -> Mapping[str, Target]:
    """kohya name to place, for `sd1` or `sdxl`."""
    table = raw_manifest("lbw_blocks")["sd15" if family == "sd1" else "sdxl"]
    found = {}
    for name, (path, long, short, _) in table.items():
        if path is not None:
            found[name] = Target(f"model.diffusion_model.{path}.weight", None, long, short)
        else:
            key, third = _text_key(family, name)
            if key is not None:
                found[name] = Target(key, third, long, short)
    return found


@cache
def _te2_names() -> Mapping[str, tuple[str, int | None]]:
    found = {}
    for path, original in raw_manifest("map_sdxl_te2").items():
        if not path.endswith(".weight"):
            continue
        flat = path.removesuffix(".weight").replace(".", "_")
        if isinstance(original, dict) and "rows" in original:
            start, stop = original["rows"]
            found[flat] = (original["original"], start // (stop - start))
        elif isinstance(original, str):
            found[flat] = (original, None)
    return found


def _text_key(family: str, name: str) -> tuple[str | None, int | None]:
    if name.startswith("lora_te2_"):
        return _te2_names().get(name.removeprefix("lora_te2_"), (None, None))
    prefix = "cond_stage_model.transformer." if family == "sd1" else "conditioner.embedders.0.transformer."
    match = re.fullmatch(r"lora_te1?_text_model_encoder_layers_(\d+)_(self_attn|mlp)_(\w+)", name)
    if match is None:
        return None, None
    layer, part, leaf = match.groups()
    return f"{prefix}text_model.encoder.layers.{layer}.{part}.{leaf}.weight", None


def lora_delta(lora: Tensors, name: str) -> Array:
    """(alpha / rank)·up·down of one module in float64, (out, in·k·k)."""
    up = lora[f"{name}.lora_up.weight"].double().numpy()
    down = lora[f"{name}.lora_down.weight"].double().numpy()
    rank = down.shape[0]
    alpha = lora[f"{name}.alpha"].double().item() if f"{name}.alpha" in lora else rank
    up = up.reshape(up.shape[0], -1)
    if f"{name}.lora_mid.weight" in lora:
        mid = lora[f"{name}.lora_mid.weight"].double().numpy()
        product = np.einsum("or,rskl,si->oikl", up, mid, down.reshape(rank, -1))
        return alpha / rank * product.reshape(up.shape[0], -1)
    return alpha / rank * up @ down.reshape(rank, -1)


def lora_names(lora: Tensors) -> list[str]:
    return sorted({key.split(".")[0] for key in lora})


def add_lora(
    family: str, weights: Mapping[str, Array], lora: Tensors, strength: Callable[[str, Target], float]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """weights + Σ strength·delta in float64; also Σ|terms| per tensor, for the error bound."""
    result = dict(weights)
    terms: dict[str, Array] = {}
    for name in lora_names(lora):
        target = targets(family)[name]
        base = weights[target.key]
        change = strength(name, target) * lora_delta(lora, name)
        full = np.zeros((base.shape[0], base.size // base.shape[0]))
        if target.third is None:
            full[:] = change
        else:
            rows = base.shape[0] // 3
            full[target.third * rows : (target.third + 1) * rows] = change
        full = full.reshape(base.shape)
        result[target.key] = result[target.key] + full
        terms[target.key] = terms.get(target.key, np.zeros(base.shape)) + np.abs(full)
    return result, terms


def as_float64(tensors: Tensors) -> dict[str, Array]:
    """The float tensors of a checkpoint."""
    return {key: value.double().numpy() for key, value in tensors.items() if value.is_floating_point()}


def one_ulp(value: Array, dtype: torch.dtype) -> Array:
    """Spacing of `dtype` at |value|, subnormals included."""
    _, exponent = np.frexp(np.abs(value))
    exponent = np.maximum(exponent - 1, SMALLEST_EXPONENT[dtype])
    return np.ldexp(1.0, exponent - ULP[dtype])


def assert_within_contract(
    result: torch.Tensor, expected: Array, base: Array, terms: Array | float, name: str
) -> None:
    """docs/semantics.md §5: 1 ulp of the output dtype plus 4·2⁻²⁴·(|W| + Σ|terms|)."""
    error = np.abs(result.double().numpy() - expected)
    allowed = one_ulp(expected, result.dtype) + 4 * 2.0**-24 * (np.abs(base) + terms)
    worst = float((error - allowed).max(initial=-1.0))
    assert worst <= 0.0, f"{name}: {worst:.3g} beyond the bound"
