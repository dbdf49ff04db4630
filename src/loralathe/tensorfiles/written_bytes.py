"""Which bytes of a tensor have been written: each exactly once, or the file is not what was planned."""

from __future__ import annotations

from bisect import bisect_left, insort


class WrittenBytes:
    """Disjoint intervals within [0, size), merged where they touch."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._parts: list[tuple[int, int]] = []

    def add(self, begin: int, end: int) -> None:
        """Count [begin, end) as written; ValueError when outside the tensor or partly written before."""
        if not 0 <= begin <= end <= self._size:
            raise ValueError(f"bytes [{begin}, {end}) of {self._size}")
        if begin == end:
            return
        parts = self._parts
        at = bisect_left(parts, (begin, end))
        before = parts[at - 1] if at else (0, 0)
        after = parts[at] if at < len(parts) else (self._size, self._size)
        if before[1] > begin or after[0] < end:
            raise ValueError(f"bytes [{begin}, {end}) are written twice")
        if at < len(parts) and after[0] == end:
            end = parts.pop(at)[1]
        if at and before[1] == begin:
            begin = parts.pop(at - 1)[0]
        insort(parts, (begin, end))

    def first_gap(self) -> int | None:
        """Offset of the first byte not written yet; None when all are."""
        if not self._size:
            return None
        if not self._parts or self._parts[0][0]:
            return 0
        end = self._parts[0][1]
        return None if end == self._size else end
