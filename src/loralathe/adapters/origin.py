"""Which family an adapter was made for, where several families use its names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from loralathe.adapters.detect import AdapterDetected
from loralathe.adapters.keys import group_by_module
from loralathe.adapters.kinds.lora import PARTS
from loralathe.families import Family
from loralathe.tensorfiles import Header

KEEPS_AXES = (*(part for part, name in PARTS.items() if name == "down"), "lokr_w2", "diff")
"""Parts that are 4-D where the layer is a convolution; the other kinds store a matrix for both."""
Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]
"""Canonical name → part → shape."""


def own_family(header: Header, detected: AdapterDetected) -> Family:
    """The family that an adapter was made for, as far as its header tells.

    SD 1 and SD 2 share all names, and a LoRA of few modules may fit SDXL too. The inputs of layers that read
    the text tell them apart, else the axes of layers that are convolutions in one and linear in the other,
    else the trainer's note, else it is the oldest family.
    """
    raw = group_by_module(header.tensors.keys()).parts
    shapes: Shapes = {
        name: {part: header.tensors[key].shape for part, key in raw[raw_name].items()}
        for raw_name, name in detected.names.items()
    }
    candidates = detected.families
    for family in candidates:
        if any(_columns(found) == columns for found, columns in _evidence(shapes, family.evidence.columns)):
            return family
    axes = [
        {len(parts[part]) == wanted for parts, wanted in _evidence(shapes, family.evidence.axes)
         for part in KEEPS_AXES if part in parts}
        for family in candidates
    ]  # fmt: skip
    if any(axes):
        return next(
            (family for family, fits in zip(candidates, axes, strict=True) if fits == {True}), candidates[0]
        )
    noted = header.metadata.get("ss_v2") == "True"
    return next((family for family in candidates if family.words.v2 is noted), candidates[0])


def _evidence(
    shapes: Shapes, by_end: Mapping[str, int]
) -> Iterator[tuple[Mapping[str, tuple[int, ...]], int]]:
    """Shapes of each module whose name has one of these ends, with the number for it."""
    for name, parts in shapes.items():
        for end, number in by_end.items():
            if name.endswith(end):
                yield parts, number


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
