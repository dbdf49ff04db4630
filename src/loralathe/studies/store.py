"""Finished cells on disk: `cells/<key>.png` and `cells/<key>.json`, written so that a kill loses at most one.

The picture is renamed into place first and its description last: a cell counts when both are there.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, PngImagePlugin

from loralathe.errors import MachineError
from loralathe.studies.plan import Job
from loralathe.tensorfiles import remove_stale_in, write_whole


def png_bytes(image: Image.Image, text: dict[str, str] | None = None) -> bytes:
    """The image as PNG, with its own text chunks (A1111's `parameters`) and those of `text`."""
    chunks = PngImagePlugin.PngInfo()
    own = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
    for key, value in (own | (text or {})).items():
        chunks.add_text(key, value)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=chunks, compress_level=4)
    return buffer.getvalue()


@dataclass(frozen=True)
class CellStore:
    """The pictures of a study's folder."""

    folder: Path

    def picture(self, key: str) -> Path:
        return self.folder / "cells" / f"{key}.png"

    def description(self, key: str) -> Path:
        return self.folder / "cells" / f"{key}.json"

    def has(self, key: str) -> bool:
        return self.description(key).is_file() and self.picture(key).is_file()

    def put(self, job: Job, image: Image.Image) -> None:
        fields = {"key": job.key, "request": job.request.to_json(), "variables": dict(job.variables)}
        write_whole(self.picture(job.key), png_bytes(image))
        write_whole(self.description(job.key), json.dumps(fields, ensure_ascii=False, indent=1).encode())

    def open(self, key: str) -> Image.Image:
        """The picture in RGB, its text chunks in `info`. Raises MachineError when it is damaged."""
        try:
            with Image.open(self.picture(key)) as image:
                info = dict(image.info)
                picture: Image.Image = image.convert("RGB")
        except OSError as error:
            raise MachineError(
                "a finished cell cannot be read", where=str(self.picture(key)), fix="delete it and run again"
            ) from error
        picture.info = info
        return picture

    def forget(self, keys: Iterable[str]) -> None:
        """Make these cells missing, so that they are rendered again."""
        for key in keys:
            self.description(key).unlink(missing_ok=True)
            self.picture(key).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what writers that were killed left behind."""
        for folder in (self.folder, self.folder / "cells"):
            remove_stale_in(folder)
