"""Kinds that are recognised by their tensors so that errors can name them, and not read yet."""

from __future__ import annotations

from loralathe.adapters.kind import Kind, Shapes


def _oft_or_boft(shapes: Shapes) -> str:
    """BOFT has a factor more in each block, as LyCORIS writes both."""
    return "boft" if len(shapes.get("oft_blocks", ())) == 4 else "oft"


def _names(*parts: str) -> dict[str, str]:
    return {part: part for part in parts}


KINDS = (
    Kind("oft", "OFT", _names("oft_blocks", "oft_diag"), variant=_oft_or_boft),
    Kind("boft", "BOFT", {}),
    Kind("glora", "GLoRA", _names("a1.weight", "a2.weight", "b1.weight", "b2.weight")),
    Kind("ia3", "(IA)³", _names("on_input"), bare=_names("weight")),
)
