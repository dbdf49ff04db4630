"""A kind of adapter that exists only in a test: every output is scaled, (s − 1)·W row by row.

What it changes depends on the weight, and so does its shape: s, of shape (out,), tells the rows only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.adapters.kind import ANY, DeltaShape, Kind, MakeChange, ModuleData, ModuleHeader, Weight

if TYPE_CHECKING:
    import torch


def delta_shape(header: ModuleHeader) -> DeltaShape:
    info = header.tensors["scale"]
    header.check_axes(info, len(info.shape) == 1, "(out,)")
    return DeltaShape((info.shape[0], ANY), info.shape[0], None)


def change(module: ModuleData, weight: Weight) -> MakeChange:
    scales = module.read("scale") - 1.0
    assert len(scales) == weight.shape[0]

    def make(values: torch.Tensor, rows: range) -> torch.Tensor:
        return values * scales[rows.start : rows.stop, None]

    return make


KINDS = (Kind("toy_scale", "ToyScale", {"toy_scale": "scale"}, delta_shape, change=change),)
