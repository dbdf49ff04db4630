"""Which family an adapter was made for, where several families use its names."""

from __future__ import annotations

from collections.abc import Mapping

from loralathe.adapters.lora import PARTS
from loralathe.families import (
    SD1,
    SD2,
    SDXL,
    AdapterDetected,
    Family,
    group_by_module,
)
from loralathe.tensorfiles import Header

TEXT_WIDTHS = {768: SD1, 1024: SD2, 2048: SDXL}
"""Columns of attn2.to_k: the width of the text that the U-Net reads."""
KEEPS_AXES = (*(part for part, name in PARTS.items() if name == "down"), "lokr_w2", "diff")
"""Parts that are 4-D where the layer is a convolution; the other kinds store a matrix for both."""


def own_family(header: Header, detected: AdapterDetected) -> Family:
    """The family that an adapter was made for, as far as its header tells.

    SD 1 and SD 2 share all names, and a LoRA of few modules may fit SDXL too. The text width tells them
    apart, else the projections (convolutions in SD 1, linear layers in SD 2 as sd-scripts builds it), else
    the trainer's note, else it is the first.
    """
    candidates = detected.families
    raw = group_by_module(header.tensors.keys()).parts
    shapes = {
        name: {part: header.tensors[key].shape for part, key in raw[raw_name].items()}
        for raw_name, name in detected.names.items()
        if name.endswith((".attn2.to_k", ".proj_in", ".proj_out"))
    }
    by_width = {TEXT_WIDTHS.get(_columns(found)) for name, found in shapes.items() if name.endswith(".to_k")}
    for family in candidates:
        if family in by_width:
            return family
    if SD2 not in candidates:
        return candidates[0]
    projections = {
        len(found[part])
        for name, found in shapes.items()
        for part in KEEPS_AXES
        if part in found and not name.endswith(".to_k")
    }
    noted = header.metadata.get("ss_v2") == "True"
    return SD2 if projections == {2} or (noted and not projections) else candidates[0]


def _columns(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Inputs of a linear module, whatever its kind; 0 where its tensors do not tell."""
    for part in (*KEEPS_AXES, "hada_w1_b"):
        if part in shapes and part != "lokr_w2":
            return _second(shapes[part])
    small = shapes.get("lokr_w1", shapes.get("lokr_w1_b", ()))
    large = shapes.get("lokr_w2", shapes.get("lokr_w2_b", ()))
    return _second(small) * _second(large)


def _second(shape: tuple[int, ...]) -> int:
    return shape[1] if len(shape) > 1 else 0
