"""SuperMerger's smoothAdd: a difference cleaned as if it were a picture."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loralathe.language.amounts import weighed
from loralathe.language.expressions import LinearExpression, method_expression
from loralathe.language.function import CallArguments, Function, amount, value
from loralathe.language.method import Arguments, MakeRows, Method, Values

if TYPE_CHECKING:
    from torch import Tensor

SIGMA, RADIUS = 1.0, 4
"""Of the Gaussian: scipy.ndimage cuts it at 4σ."""
REACH = RADIUS + 1
"""How far the value of one element reaches, the median's neighbour included."""
CHUNK = 1 << 15
"""Elements whose neighbourhoods are gathered at a time; a 3×3 kernel has 81 neighbours with its channels."""


@dataclass(frozen=True)
class Smooth(Method):
    """Median of 3 in every dimension, then a Gaussian of σ = 1, mirrored at the edges; of one delta."""

    name = "smooth_add"
    scratch = 32
    by_rows = False

    def prepare(self, tensor: Arguments) -> MakeRows:
        total, rest = tensor.shape[0], tensor.shape[1:]

        def make(values: Values, rows: range) -> Tensor:
            low, high = max(0, rows.start - REACH), min(total, rows.stop + REACH)
            near = tensor.rows(low, high)[0].reshape(high - low, *rest)
            return smooth(near, rows, low, total).reshape(len(rows), -1)

        return make


def smooth(near: Tensor, rows: range, low: int, total: int) -> Tensor:
    """These rows of a filtered tensor of `total` rows; `near` holds its rows from `low` on, REACH further.

    A median of mirrored values is the mirrored median, so each filter can mirror its own input.
    """
    padded = near.index_select(0, _mirrored(rows.start - REACH, rows.stop + REACH, total) - low)
    for axis in range(1, near.ndim):
        padded = _widened(padded, axis, 1)
    value = _gaussian(_median3(padded), 0)
    for axis in range(1, value.ndim):
        value = _gaussian(_widened(value, axis, RADIUS), axis)
    return value


def _widened(value: Tensor, axis: int, by: int) -> Tensor:
    size = value.shape[axis]
    return value.index_select(axis, _mirrored(-by, size + by, size))


def _gaussian(value: Tensor, axis: int) -> Tensor:
    """Along one axis, which gets shorter by 2·RADIUS."""
    import torch

    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    kernel = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel = (kernel / kernel.sum()).float().view(1, 1, -1)
    moved = value.movedim(axis, -1)
    lines = torch.nn.functional.conv1d(moved.reshape(-1, 1, moved.shape[-1]), kernel)
    return lines.reshape(*moved.shape[:-1], -1).movedim(-1, axis)


def _mirrored(start: int, stop: int, size: int) -> Tensor:
    """Indices start … stop − 1 of a line of `size` that is mirrored at its ends: c b a | a b c | c b a."""
    import torch

    place = torch.arange(start, stop).remainder(2 * size)
    return torch.minimum(place, 2 * size - 1 - place)


def _median3(value: Tensor) -> Tensor:
    """Median over the 3^d neighbourhood; every dimension gets shorter by 2."""
    import torch

    inner = tuple(size - 2 for size in value.shape)
    result = value.new_empty(inner)
    step = max(1, CHUNK // max(1, math.prod(inner[1:])))
    for first in range(0, inner[0], step):
        last = min(first + step, inner[0])
        sizes = (last - first, *inner[1:])
        views = [
            value[first : last + 2][_window(shifts, sizes)]
            for shifts in itertools.product(range(3), repeat=value.ndim)
        ]
        result[first:last] = torch.stack(views, dim=-1).median(dim=-1).values
    return result


def _window(shifts: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(shift, shift + size) for shift, size in zip(shifts, sizes, strict=True))


def smooth_add(call: CallArguments) -> LinearExpression:
    a = call.expression("A")
    b, c = call.alike("B", "C")
    return a + weighed(method_expression(Smooth(), b - c), call.amount("alpha"))


FUNCTIONS = (Function("smooth_add", (value("A"), value("B"), value("C"), amount("alpha")), smooth_add),)
