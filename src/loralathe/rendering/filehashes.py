"""Hashes that infotext names files by; each file is hashed once and remembered by its size and date."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loralathe.progress import Progress
from loralathe.rendering.infotext import Hashes
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse
from loralathe.tensorfiles import content_hash, model_hash


class FileHashes:
    """Hashes of the files of a request; names of weights held in memory have none."""

    def __init__(self, *, enabled: bool, in_memory: frozenset[str], progress: Progress) -> None:
        self._enabled = enabled
        self._in_memory = in_memory
        self._progress = progress
        self._adapters: dict[tuple[str, int, int], str] = {}

    def of(self, request: ImageRequest, uses: Sequence[AdapterUse]) -> Hashes:
        if not self._enabled:
            return Hashes()
        adapters = {Path(use.file).stem: self._of_adapter(use.file) for use in uses}
        return Hashes(self._of_file(request.checkpoint), self._of_file(request.vae), adapters)

    def _of_file(self, name: str | None) -> str | None:
        if name is None or name in self._in_memory or not Path(name).is_file():
            return None
        return content_hash(name, progress=self._progress)

    def _of_adapter(self, path: str) -> str:
        """Computed from the file: a hash that its metadata claims may be that of an earlier version."""
        status = Path(path).stat()
        key = (path, status.st_mtime_ns, status.st_size)
        if key not in self._adapters:
            self._adapters[key] = model_hash(path)
        return self._adapters[key]
