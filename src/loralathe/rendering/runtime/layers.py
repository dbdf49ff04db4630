"""Adapters added to a layer's output, one strength per row of the batch. The layer itself is never touched.

weight   y + s·B(A·x); multiplying by A first keeps the cost at rank·(in + out) per token
         y + s·Δ·x, Δ whole, where the change depends on the weight (DoRA, OFT, …)
bias     y + s·Δb
norm     y + s·Δw·x̂, x̂ the normalised input: a norm's output is w·x̂ + b
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from loralathe.errors import InputError

if TYPE_CHECKING:
    from loralathe.lowrank import Factors


@dataclass(frozen=True, eq=False)
class LowRank:
    """The factors of one module, shaped for its layer, alpha / rank folded in, strength not.

    linear:       down (r, in), up (out, r)
    convolution:  down (r, in, k, k), up (out, r, 1, 1); with a core: down (r, in, 1, 1), mid (r, r, k, k)
    """

    down: torch.Tensor
    up: torch.Tensor
    mid: torch.Tensor | None


@dataclass(frozen=True, eq=False)
class Whole:
    """The change of a weight as a whole, in its shape."""

    values: torch.Tensor


@dataclass(frozen=True, eq=False)
class Vector:
    """A change of a bias or of a norm's weight. values: one for each channel.  scales: true for a norm."""

    values: torch.Tensor
    scales: bool


Change = LowRank | Whole | Vector


@dataclass(frozen=True, eq=False)
class Term:
    """One adapter on one layer in one batch.

    rows:      indices of the rows it acts on, or None for all
    strengths: (number of those rows,)
    count:     rows of the batch
    """

    factors: Change
    rows: torch.Tensor | None
    strengths: torch.Tensor
    count: int


def shaped_for(layer: nn.Module, factors: Factors, dtype: torch.dtype, device: torch.device) -> LowRank:
    """The factors as this layer applies them. InputError for a layer of another kind."""
    up, down, mid = factors.up, factors.down, factors.mid
    if isinstance(layer, nn.Conv2d):
        kernel = (1, 1) if mid is not None else layer.kernel_size
        down = down.reshape(down.shape[0], layer.in_channels, *kernel)
        up = up.reshape(*up.shape, 1, 1)
    elif not isinstance(layer, nn.Linear):
        raise InputError(f"an adapter cannot act on a layer of the kind {type(layer).__name__}")
    elif mid is not None:
        down, mid = mid.reshape(mid.shape[0], mid.shape[1]) @ down, None
    core = None if mid is None else mid.to(device, dtype)
    return LowRank(down.to(device, dtype), up.to(device, dtype), core)


def cut(change: Change, rows: torch.Tensor | None) -> Change:
    """That of some rows of the weight, in this order; None: of all."""
    if rows is None:
        return change
    if isinstance(change, LowRank):
        return replace(change, up=change.up[rows.to(change.up.device)])
    return replace(change, values=change.values[rows.to(change.values.device)])


def update(layer: nn.Module, factors: Change, x: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """sᵢ·B(A·xᵢ) for the rows of x, in the shape of the layer's output."""
    if isinstance(factors, Vector):
        return _vector_update(layer, factors, x, strengths)
    spread = strengths.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))
    if isinstance(layer, nn.Conv2d):
        conv = partial(functional.conv2d, stride=layer.stride, padding=layer.padding, dilation=layer.dilation)
        if isinstance(factors, Whole):
            return conv(x * spread, factors.values)
        if factors.mid is None:
            inner = conv(x, factors.down)
        else:
            inner = conv(functional.conv2d(x, factors.down), factors.mid)
        return functional.conv2d(inner * spread, factors.up)
    if isinstance(factors, Whole):
        return functional.linear(x * spread, factors.values)
    return functional.linear(functional.linear(x, factors.down) * spread, factors.up)


def _vector_update(
    layer: nn.Module, vector: Vector, x: torch.Tensor, strengths: torch.Tensor
) -> torch.Tensor:
    """The change for the rows of x, in a shape that broadcasts to the layer's output."""
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
    eps = getattr(layer, "eps", getattr(layer, "variance_epsilon", None))
    if "RMSNorm" in type(layer).__name__ or type(layer).__name__ == "T5LayerNorm":
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + (eps or 0.0))).to(x.dtype)
    raise InputError(f"a difference of a norm cannot act on a layer of the kind {type(layer).__name__}")


Hook = Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]


def hook_of(terms: Sequence[Term]) -> Hook:
    """A forward hook that adds all terms to a layer's output."""

    def add(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        (x,) = inputs
        joined = (
            terms[0].count and len(x) != terms[0].count
        )  # some networks put the tokens of all rows together
        if joined:
            x = x.reshape(terms[0].count, -1, *x.shape[1:])
            output = output.reshape(*x.shape[:2], *output.shape[1:])
        for term in terms:
            if term.rows is None:
                output = output + update(layer, term.factors, x, term.strengths)
            else:
                part = update(layer, term.factors, x[term.rows], term.strengths)
                output = output.index_add(0, term.rows, part.expand(len(part), *output.shape[1:]))
        return output.flatten(0, 1) if joined else output

    return add
