"""What adapters whose change depends on the weight make of one: written once in float64 numpy, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from loralathe.adapters import load_change, open_adapter
from loralathe.families import Family

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class HeldWeight:
    """`adapters.kind.Weight` over an array, in bands of any height."""

    array: np.ndarray
    height: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def rows(self, start: int, stop: int) -> torch.Tensor:
        return torch.from_numpy(self.array[start:stop].reshape(stop - start, -1).astype(np.float32))

    def ranges(self) -> Iterator[range]:
        for start in range(0, len(self.array), self.height):
            yield range(start, min(start + self.height, len(self.array)))

    def bands(self) -> Iterator[torch.Tensor]:
        return (self.rows(rows.start, rows.stop) for rows in self.ranges())


def made_change(path: Path, family: Family, array: np.ndarray, height: int) -> np.ndarray:
    """What a file of one module changes of a weight, band by band, as float64."""
    with open_adapter(path, family, with_weights=True) as adapter:
        (module,) = adapter.modules.values()
        weight = HeldWeight(array, height)
        make = load_change(adapter, module, weight)
        bands = [make(weight.rows(rows.start, rows.stop), rows) for rows in weight.ranges()]
    return torch.cat(bands).double().numpy().reshape(array.shape)


def cayley(block: np.ndarray, shrink: float = 1.0) -> np.ndarray:
    unit, skew = np.eye(len(block)), (block - block.T) * shrink
    return (unit + skew) @ np.linalg.inv(unit - skew)


def shrunk(blocks: np.ndarray, limit: float) -> float:
    """What the constraint multiplies Q by."""
    norm = np.linalg.norm(blocks - np.swapaxes(blocks, -1, -2))
    return limit / norm if 0 < limit < norm else 1.0


def oft(w: np.ndarray, t: Arrays, name: str = "oft_blocks") -> np.ndarray:
    """Each block of rows by its own small matrix."""
    blocks, out = t[name], w.copy()
    size, shrink = blocks.shape[-1], shrunk(blocks, float(t.get("alpha", 0.0)) * len(w))
    for number, block in enumerate(blocks):
        rows = slice(number * size, (number + 1) * size)
        out[rows] = np.tensordot(cayley(block, shrink).T, w[rows], 1)
    return rescaled(out, t) - w


def rescaled(w: np.ndarray, t: Arrays) -> np.ndarray:
    return w * t["rescale"].reshape(-1, *[1] * (w.ndim - 1)) if "rescale" in t else w


def boft(w: np.ndarray, t: Arrays) -> np.ndarray:
    """Row by row: which rows a block of a stage mixes is worked out with indices."""
    blocks, out = t["oft_blocks"], w.copy()
    size, shrink = blocks.shape[-1], shrunk(blocks, float(t.get("alpha", 0.0)) * len(w))
    for stage, turns in enumerate(blocks):
        step = 2**stage * size // 2
        order = [
            group + pair * step + row
            for group in range(0, len(w), 2 * step)
            for row in range(step)
            for pair in range(2)
        ]
        now = out.copy()
        for number, block in enumerate(turns):
            rows = order[number * size : (number + 1) * size]
            now[rows] = np.tensordot(cayley(block, shrink), out[rows], 1)
        out = now
    return rescaled(out, t) - w


def glora(w: np.ndarray, t: Arrays, alpha: float, before: bool = False) -> np.ndarray:
    """s·(W·A + B), element by element of the kernel."""
    flat = {name.removesuffix(".weight"): value for name, value in t.items()}
    names = ("a2", "a1", "b2", "b1") if before else ("a1", "a2", "b1", "b2")
    left, right, up = (flat[name].reshape(flat[name].shape[:2]) for name in names[:3])
    down = flat[names[3]]
    change = np.einsum("oi...,ij,jc->oc...", w, left, right)
    if "bm" in flat:
        added = np.einsum("or,rs...,si->oi...", up, flat["bm"], down.reshape(down.shape[:2]))
    else:
        added = np.einsum("or,ri...->oi...", up, down.reshape(down.shape[0], *w.shape[1:]))
    return alpha / up.shape[1] * (change + added)


def ia3(w: np.ndarray, t: Arrays) -> np.ndarray:
    vector, axis = t["weight"].ravel(), int(t["on_input"])
    return w * np.moveaxis(np.broadcast_to(vector, (*np.moveaxis(w, axis, -1).shape,)), -1, axis)
