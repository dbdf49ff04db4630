"""Picture files: a PNG with its text chunks as bytes, and any picture read, whatever is wrong with it."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

from PIL import Image, PngImagePlugin

from loralathe.errors import InputError, whole
from loralathe.tensorfiles import check_is_file

DAMAGE = (OSError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError)
"""Pillow raises each of these for some damaged file."""
MOST_PIXELS = 1 << 26
"""Of a picture that is read: as many as the largest that is made here, 8,192 × 8,192, has."""


def png_bytes(image: Image.Image, text: dict[str, str] | None = None, *, compress_level: int = 4) -> bytes:
    """The image as PNG, with its own text chunks (A1111's `parameters`) and those of `text`."""
    chunks = PngImagePlugin.PngInfo()
    own = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
    for key, value in (own | (text or {})).items():
        # tEXt holds Latin-1 only; Pillow writes other texts as iTXt, and A1111 reads both. Names of files
        # may be no text at all.
        chunks.add_text(key, whole(value))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=chunks, compress_level=compress_level)
    return buffer.getvalue()


def text_of_png(path: Path, key: str) -> str | None:
    """The text chunk `key`, None without one. Raises one of DAMAGE for a file that is no PNG.

    Pixels are decoded only where the chunk may come after them.
    """
    check_is_file(path, "give the path of a PNG")
    with _opened(path, ("PNG",)) as image:
        if key not in image.info and image.width * image.height <= MOST_PIXELS:
            image.load()
        text = image.info.get(key)
    return text if isinstance(text, str) else None


def _opened(source: Path | io.BytesIO, formats: tuple[str, ...] | None) -> Image.Image:
    with warnings.catch_warnings():  # of sizes, which are checked here
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(source, formats=formats)


def picture_in(data: bytes, formats: tuple[str, ...] | None = None) -> Image.Image:
    """`read_picture` of a file's bytes."""
    return _whole(io.BytesIO(data), formats, "")


def read_picture(path: Path, formats: tuple[str, ...] | None = None) -> Image.Image:
    """The whole picture in RGB, its text chunks in `info`. Raises one of DAMAGE for a file that is none.

    InputError for what is no regular file, or outside of the folders that the process is kept to.
    """
    check_is_file(path, "give a picture")
    return _whole(path, formats, str(path))


def _whole(source: Path | io.BytesIO, formats: tuple[str, ...] | None, where: str) -> Image.Image:
    with _opened(source, formats) as image:
        if image.width * image.height > MOST_PIXELS:
            raise InputError(
                f"the picture has more than {MOST_PIXELS:,} pixels",
                where=where or None,
                fix="give a smaller picture",
            )
        picture: Image.Image = image.convert("RGB")
        picture.info = dict(image.info)
    return picture
