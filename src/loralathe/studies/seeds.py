"""Random seeds that are drawn once for a folder: a study that is run again asks for the same pictures."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path

from loralathe.rendering.request import MAX_SEED
from loralathe.tensorfiles import write_whole


def _random_seed() -> int:
    return secrets.randbelow(2**32 - 1)


class SeedBook:
    """The n-th seed drawn in a folder is the same in every run; new ones are added to `seeds.json`."""

    def __init__(self, folder: Path, draw: Callable[[], int] = _random_seed) -> None:
        self._path = folder / "seeds.json"
        self._draw = draw
        self._seeds: list[int] = self._read()
        self._used = 0

    def _read(self) -> list[int]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):  # none yet, or not ours: new seeds are drawn
            return []
        seeds = found if isinstance(found, list) else []
        return [seed for seed in seeds if type(seed) is int and 0 <= seed <= MAX_SEED]

    def next(self) -> int:
        if self._used == len(self._seeds):
            self._seeds.append(self._draw())
            write_whole(self._path, json.dumps(self._seeds).encode())
        self._used += 1
        return self._seeds[self._used - 1]
