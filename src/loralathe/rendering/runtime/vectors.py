"""Differences of biases and of norms' weights, added to a layer's output; the layer is never touched.

bias   y + s·Δb
norm   y + s·Δw·x̂,  x̂ the normalised input: a norm's output is w·x̂ + b
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from loralathe.errors import InputError


@dataclass(frozen=True, eq=False)
class Vector:
    """values: one number for each channel;  scales: of a norm's weight, not of a bias."""

    values: torch.Tensor
    scales: bool


def vector_update(layer: nn.Module, vector: Vector, x: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """What to add for the rows of x, of a shape that broadcasts to the layer's output."""
    # Channels come last, but for convolutions and group norms, where they come behind the row.
    behind_row = isinstance(layer, (nn.Conv2d, nn.GroupNorm))
    shape = (1, -1, *[1] * (x.dim() - 2)) if behind_row else (*[1] * (x.dim() - 1), -1)
    spread = strengths.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))
    change = spread * vector.values.reshape(shape)
    return change * _normalised(layer, x) if vector.scales else change


def _normalised(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    if isinstance(layer, nn.GroupNorm):
        return functional.group_norm(x, layer.num_groups, eps=layer.eps)
    if isinstance(layer, nn.LayerNorm):
        return functional.layer_norm(x, layer.normalized_shape, eps=layer.eps)
    raise InputError(f"a difference of a norm cannot act on a layer of the kind {type(layer).__name__}")
