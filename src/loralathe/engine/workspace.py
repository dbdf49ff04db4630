"""Reused buffers: a worker's scratch memory, so that streaming does not pay for fresh pages."""

from __future__ import annotations

import threading
from math import prod

import torch


class Workspace(threading.local):
    """Flat buffers by slot, one set a thread; a slot grows to the largest size asked of it."""

    def __init__(self) -> None:
        self._slots: dict[tuple[object, torch.dtype], torch.Tensor] = {}
        self._views: dict[tuple[object, torch.dtype], torch.Tensor] = {}

    def get(
        self, slot: object, shape: tuple[int, ...], dtype: torch.dtype, pinned: bool = False
    ) -> torch.Tensor:
        """An uninitialised tensor of `shape`; the next `get` of the same slot hands it out again.

        pinned: in memory that a GPU reads by itself, while the processor does something else.
        """
        # Most bands have the shape of the one before, and at a millisecond a band even making a view shows.
        view = self._views.get((slot, dtype))
        if view is None or view.shape != shape:
            view = self._views[slot, dtype] = self._grown(slot, prod(shape), dtype, pinned).view(shape)
        return view

    def _grown(self, slot: object, numel: int, dtype: torch.dtype, pinned: bool) -> torch.Tensor:
        held = self._slots.get((slot, dtype))
        if held is None or held.numel() < numel:
            self._views.pop((slot, dtype), None)  # or two buffers would live at once
            self._slots.pop((slot, dtype), None)
            held = self._slots[slot, dtype] = torch.empty(numel, dtype=dtype, pin_memory=pinned)
        return held[:numel]


class ByteBudget:
    """Bytes that may be in flight at once. A request larger than the whole budget waits to be alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._freed = threading.Condition()

    def take(self, amount: int) -> None:
        with self._freed:
            while self._used and self._used + amount > self._limit:
                self._freed.wait()
            self._used += amount

    def give(self, amount: int) -> None:
        with self._freed:
            self._used -= amount
            self._freed.notify_all()
