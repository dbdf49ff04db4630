"""Kinds that are recognised by their tensors so that errors can name them, and not read."""

from __future__ import annotations

from loralathe.adapters.kind import Kind


def _names(*parts: str) -> dict[str, str]:
    return {part: part for part in parts}


KINDS = (
    # LyCORIS `tlora`: it adds P·λ·Q minus the same at the start of the training, which is not in the file.
    Kind("tlora", "T-LoRA", _names("lambda_layer", "p_layer.weight", "q_layer.weight")),
)
