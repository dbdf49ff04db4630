"""Checkpoints whose weights are packed with scales of their own: recognised only to say so."""

from __future__ import annotations

from collections.abc import Iterable

from loralathe.errors import InputError

SCALES = (
    "scaled_fp8", "scale_weight", "weight_scale", "weight_scale_2", "scale_input", "input_scale",
    "comfy_quant", "absmax", "quant_map", "nested_absmax", "nested_quant_map", "SCB", "qweight", "qzeros",
    "wscales",
)  # fmt: skip
"""Last words of keys: scaled fp8 (ComfyUI), bitsandbytes, GPTQ, Nunchaku."""
STATE = ".quant_state."


def refuse_quantised(keys: Iterable[str], label: str, name: str | None) -> None:
    """InputError for a file in which a weight is not its tensor alone but the tensor times a scale."""
    found = [key for key in keys if key.rpartition(".")[2] in SCALES or STATE in key]
    if found:
        raise InputError(
            f"this is a {label} checkpoint with quantised weights, which need scales from other tensors",
            where=f"{name}: {found[0]}" if name else found[0],
            fix="take the bf16 or fp16 file, or one in plain fp8, which has no such tensors",
        )
