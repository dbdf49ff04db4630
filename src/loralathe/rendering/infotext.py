"""A1111's infotext: the text under `parameters` in a PNG, written so that its PNG-info tab reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.errors import InputError
from loralathe.progress import Progress
from loralathe.rendering.request import ImageRequest
from loralathe.rendering.samplers import canonical_names, label_of
from loralathe.strengths import AdapterUse, tag_text
from loralathe.tensorfiles import MODEL_SUFFIXES, content_hash, model_hash, write_whole
from loralathe.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image

CHUNK = "parameters"
"""Name of the PNG text chunk."""

_ENTRY = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_FEWEST = 3


@dataclass(frozen=True)
class Hashes:
    """Hashes that infotext names files by: SHA-256, of adapters and embeddings by their names."""

    model: str | None = None
    vae: str | None = None
    adapters: Mapping[str, str] = field(default_factory=dict)
    embeddings: Mapping[str, str] = field(default_factory=dict)


def infotext(request: ImageRequest, hashes: Hashes | None = None, *, made_with: str = "") -> str:
    """The text A1111 would write for `request`. Adapters beside the prompt become tags in it.

    made_with: the program that made the picture, where it was another one.
    """
    hashes, hires = hashes or Hashes(), request.hires
    sampler, schedule = canonical_names(request.sampler, request.schedule)
    tags = [tag_text(replace(use, file=Path(use.file).stem)) for use in request.adapters]
    entries: dict[str, object] = {
        "Steps": request.steps,
        "Sampler": sampler,
        "Schedule type": label_of(sampler, schedule),
        "CFG scale": _short(request.cfg),
        "Distilled CFG Scale": None if request.guidance is None else _short(request.guidance),
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model hash": hashes.model and hashes.model[:10],
        "Model": _stem(request.checkpoint),
        "VAE hash": request.vae and hashes.vae and hashes.vae[:10],
        "VAE": request.vae and Path(request.vae).name,
        "Denoising strength": hires and _short(hires.denoising),
        "Clip skip": request.clip_skip if request.clip_skip > 1 else None,
        "RNG": "CPU",
        "Hires upscale": hires and _short(hires.scale),
        "Hires steps": hires and (hires.steps or None),
        "Hires upscaler": hires and hires.upscaler,
        "Lora hashes": _by_name(hashes.adapters),
        "TI hashes": _by_name(hashes.embeddings),
        "Rendered by": f"loralathe {__version__}" + (f" with {made_with}" if made_with else ""),
    }
    last = ", ".join(
        f"{key}: {quoted_entry(str(value))}" for key, value in entries.items() if value is not None
    )
    lines = [" ".join([request.prompt, *tags]).strip()]
    if request.negative:
        lines.append(f"Negative prompt: {request.negative}")
    return "\n".join([*lines, last])


@dataclass(frozen=True)
class Reading:
    """Infotext taken apart. `entries` holds the last line's values as text, unquoted."""

    prompt: str
    negative: str
    entries: Mapping[str, str]


def read_infotext(text: str) -> Reading:
    """Take infotext apart as A1111 does: the last line counts when it holds at least three entries."""
    *lines, last = text.strip().split("\n")
    entries = {match[1]: _unquoted(match[2]) for match in _ENTRY.finditer(last)}
    if len(entries) < _FEWEST:
        lines, entries = [*lines, last], {}
    prompt: list[str] = []
    negative: list[str] = []
    into = prompt
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("Negative prompt:"):
            into, stripped = negative, stripped.removeprefix("Negative prompt:").strip()
        into.append(stripped)
    return Reading("\n".join(prompt), "\n".join(negative), entries)


def save_png(image: Image, path: Path) -> None:
    """Write a PNG with the infotext that the renderer left in `image.info`; whole, or not at all."""
    from loralathe.rendering.png import png_bytes

    write_whole(path, png_bytes(image, compress_level=6))


def png_text(path: Path) -> str | None:
    """The infotext of a PNG, or None. InputError for a file that is damaged or not a PNG."""
    from loralathe.rendering.png import DAMAGE, text_of_png

    try:
        return text_of_png(path, CHUNK)
    except DAMAGE as error:
        raise InputError(
            f"the picture cannot be read: {error}", where=str(path), fix="the file is damaged or not a PNG"
        ) from error


def quoted_entry(text: str) -> str:
    """A value of the last line: in JSON's quotes where it needs them to be read back, as A1111 writes it."""
    plain = text and text == text.strip() and text[0] != '"' and not re.search(r"[,:\n]", text)
    return text if plain else json.dumps(text, ensure_ascii=False)


def _unquoted(text: str) -> str:
    if len(text) < 2 or not (text.startswith('"') and text.endswith('"')):
        return text.strip()
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def _short(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)


def _stem(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix in MODEL_SUFFIXES else path.name


def _by_name(hashes: Mapping[str, str]) -> str | None:
    return ", ".join(f"{_plain(name)}: {digest[:12]}" for name, digest in hashes.items()) or None


def _plain(name: str) -> str:
    return name.replace(":", "").replace(",", "")


class FileHashes:
    """Hashes of a request's files, each computed once. Names of weights held in memory have none."""

    def __init__(self, *, enabled: bool, in_memory: frozenset[str], progress: Progress) -> None:
        self._enabled = enabled
        self._in_memory = in_memory
        self._progress = progress
        self._adapters: dict[tuple[str, int, int], str] = {}

    def of(self, request: ImageRequest, uses: Sequence[AdapterUse]) -> Hashes:
        if not self._enabled:
            return Hashes()
        adapters = {Path(use.file).stem: self._of_adapter(use.file) for use in uses}
        embeddings = {Path(f).stem: content_hash(f, progress=self._progress) for f in request.embeddings}
        return Hashes(self._of_file(request.checkpoint), self._of_file(request.vae), adapters, embeddings)

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
