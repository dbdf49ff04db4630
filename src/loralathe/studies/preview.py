"""The picture that fills in while a grid is rendered."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from loralathe.studies.drawing.grid import GridLook, compose, fitting_scale, preview_look, whole_parts
from loralathe.studies.plan import GridPlan
from loralathe.studies.store import png_bytes
from loralathe.tensorfiles import write_whole

SIDE = 1600


class Preview:
    """Rewrites one small file every few seconds; thumbnails of finished cells stay in memory.

    Writing takes at most about a tenth of the time: after a slow one the next waits longer.
    """

    def __init__(
        self,
        path: Path,
        plan: GridPlan,
        look: GridLook,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._plan = plan
        self._look = preview_look(look, SIDE)
        self._scale = fitting_scale(plan, self._look)
        self._every = every_s
        self._clock = clock
        self._next = clock() + every_s
        self._thumbnails: dict[str, Image.Image] = {}

    def add(self, key: str, image: Image.Image) -> None:
        """A finished cell; writes the preview when it is time."""
        size = max(1, round(image.width * self._scale)), max(1, round(image.height * self._scale))
        self._thumbnails[key] = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        if self._clock() >= self._next:
            self.write()

    def write(self) -> None:
        begin = self._clock()
        picture = compose(self._plan, whole_parts(self._plan), self._thumbnails.get, self._look, self._scale)
        write_whole(self._path, png_bytes(picture))
        now = self._clock()
        self._next = now + max(self._every, 10 * (now - begin))

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
