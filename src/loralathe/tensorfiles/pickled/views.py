"""Tensors whose elements do not lie in a row: transposed, sliced, expanded, or in the other byte order."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from loralathe.tensorfiles.positional import read_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DENSE = 4
"""A block is read in one call when it has at most this many times the bytes that are needed, …"""
_SMALL = 4096
"""… or at most this many bytes: a system call costs as much as copying them."""


@dataclass(frozen=True, slots=True)
class View:
    """Elements of `itemsize` bytes at `start + Σ index·stride` of the file; strides in bytes, never negative.

    swap: bytes of a number to be reversed, 0 for none (complex numbers are two).
    """

    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    itemsize: int
    swap: int = 0

    @property
    def span(self) -> int:
        """Bytes from the first element to the end of the last."""
        return span_of(self.shape, self.strides, self.itemsize)

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.itemsize

    def narrowed(self, axis: int, start: int, stop: int) -> View:
        """The part with index [start, stop) on one axis."""
        shape = (*self.shape[:axis], stop - start, *self.shape[axis + 1 :])
        first = self.start + start * self.strides[axis]
        return View(first, shape, self.strides, self.itemsize, self.swap)


def span_of(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> int:
    """Bytes between the first byte of a view and the one after its last; 0 when it has no elements."""
    if not prod(shape):
        return 0
    return sum((size - 1) * step for size, step in zip(shape, strides, strict=True)) + itemsize


def in_a_row(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    """Whether the elements lie one after the other, last axis fastest; axes of size 1 may have any stride."""
    if not prod(shape):
        return True
    expected = itemsize
    for size, step in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True


def read_view(fd: int, view: View, buffer: memoryview, first: int, where: str) -> None:
    """Fill `buffer` with the bytes from `first` of the tensor as if it lay in a row.

    Reads blocks of the file about as large as the bytes asked for; safe from any thread.
    """
    import numpy as np

    if not buffer.nbytes:
        return
    rows = view.shape[0] if view.shape else 1
    whole = view if view.shape else View(view.start, (1,), (0,), view.itemsize, view.swap)
    row = whole.nbytes // rows
    begin, end = first // row, -(-(first + buffer.nbytes) // row)
    part = whole.narrowed(0, begin, end)
    gathered = np.empty(part.shape, dtype=f"V{view.itemsize}")
    _gather(fd, part, gathered, where)
    flat = gathered.reshape(-1).view(np.uint8)
    if view.swap:
        flat = flat.reshape(-1, view.swap)[:, ::-1].reshape(-1)
    skip = first - begin * row
    buffer.cast("B")[:] = np.ascontiguousarray(flat[skip : skip + buffer.nbytes]).data


def _gather(fd: int, view: View, target: NDArray[np.void], where: str) -> None:
    """Read elements that lie close together in one block; else split the view along its widest stride."""
    import numpy as np

    if view.span <= max(_SMALL, _DENSE * view.nbytes) or prod(view.shape) == 1:
        block = np.empty(view.span, dtype=np.uint8)
        read_at(fd, block.data, view.start, where)
        target[...] = np.ndarray(
            view.shape, dtype=f"V{view.itemsize}", buffer=block.data, strides=view.strides
        )
        return
    # The widest stride among axes that have one; an axis of size 1 spans nothing.
    axis = max(range(len(view.shape)), key=lambda i: view.strides[i] if view.shape[i] > 1 else -1)
    for index in range(view.shape[axis]):
        inner = view.narrowed(axis, index, index + 1)
        _gather(fd, inner, _slice(target, axis, index), where)


def _slice(target: NDArray[np.void], axis: int, index: int) -> NDArray[np.void]:
    """A view of one index on an axis, the axis kept."""
    place: list[slice] = [slice(None)] * target.ndim
    place[axis] = slice(index, index + 1)
    return target[tuple(place)]
