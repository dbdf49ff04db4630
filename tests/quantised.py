"""Checkpoints as ComfyUI and City96's converter quantise them, and what they hold in float64.

The float64 values are made here by torch and numpy from the published formulas, not by the package.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tensorfiles.gguf_files import as_float64, write_gguf

Tensors = dict[str, torch.Tensor]
Arrays = dict[str, np.ndarray]


def config(**told: object) -> torch.Tensor:
    """`comfy_quant`: JSON as a uint8 tensor."""
    return torch.tensor(list(json.dumps(told).encode()), dtype=torch.uint8)


def old_fp8(layer: str, weight: torch.Tensor) -> tuple[Tensors, np.ndarray]:
    """ComfyUI's older spelling; one scale for the tensor."""
    scale = weight.abs().max() / 448
    codes = (weight / scale).to(torch.float8_e4m3fn)
    parts = {"weight": codes, "scale_weight": scale, "scale_input": torch.ones(())}
    return _named(layer, parts), codes.double().numpy() * float(scale)


def fp8_rows(layer: str, weight: torch.Tensor) -> tuple[Tensors, np.ndarray]:
    """The newer spelling; a bf16 scale for each row."""
    scale = (weight.abs().amax(1, keepdim=True) / 50000).bfloat16()
    codes = (weight / scale.float()).to(torch.float8_e5m2)
    parts = {"weight": codes, "weight_scale": scale, "comfy_quant": config(format="float8_e5m2")}
    return _named(layer, parts), codes.double().numpy() * scale.double().numpy()


def int8(layer: str, weight: torch.Tensor) -> tuple[Tensors, np.ndarray]:
    scale = weight.abs().max() / 127
    codes = (weight / scale).round().to(torch.int8)
    parts = {"weight": codes, "weight_scale": scale, "comfy_quant": config(format="int8_tensorwise")}
    return _named(layer, parts), codes.double().numpy() * float(scale)


def _named(layer: str, parts: Tensors) -> Tensors:
    return {f"{layer}.{word}": value.clone() for word, value in parts.items()}


SAFETENSORS: dict[str, Callable[[str, torch.Tensor], tuple[Tensors, np.ndarray]]] = {
    "old fp8": old_fp8,
    "fp8 rows": fp8_rows,
    "int8": int8,
}
GGUF = ("Q8_0", "Q4_0")
KINDS = (*SAFETENSORS, *GGUF)


def quantise(
    folder: Path, kind: str, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> tuple[Path, Arrays]:
    """A file of these tensors with quantised matrices; and what its quantised weights are, in float64."""
    if kind in GGUF:
        return _gguf(folder / "quantised.gguf", kind, tensors)
    stored: Tensors = {"scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)} if kind == "old fp8" else {}
    exact: Arrays = {}
    for key, tensor in tensors.items():
        layer, _, word = key.rpartition(".")
        if word == "weight" and tensor.ndim == 2:
            parts, exact[key] = SAFETENSORS[kind](layer, tensor.float())
            stored |= parts
        else:
            stored[key] = tensor
    save_file(stored, folder / "quantised.safetensors", dict(metadata or {}))
    return folder / "quantised.safetensors", exact


def _gguf(path: Path, kind: str, tensors: Mapping[str, torch.Tensor]) -> tuple[Path, Arrays]:
    import gguf

    write_gguf(path, tensors, default=kind)
    exact = {}
    for found in gguf.GGUFReader(path).tensors:
        if found.tensor_type.name == kind:
            raw = np.array(found.data).reshape(-1, gguf.GGML_QUANT_SIZES[found.tensor_type][1])
            exact[found.name] = as_float64(raw, kind).reshape(tuple(tensors[found.name].shape))
    return path, exact
