"""Picture files: a PNG with its text chunks as bytes, and any picture read, whatever is wrong with it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

from PIL import Image, PngImagePlugin

from loralathe.errors import whole
from loralathe.tensorfiles import check_is_file

DAMAGE = (OSError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError)
"""Pillow raises each of these for some damaged file."""


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


def read_picture(path: Path, formats: tuple[str, ...] | None = None) -> Image.Image:
    """The whole picture in RGB, its text chunks in `info`. Raises one of DAMAGE for a file that is none.

    InputError for what is no regular file, or outside of the folders that the process is kept to.
    """
    check_is_file(path, "give a picture")
    with Image.open(path, formats=formats) as image:
        picture: Image.Image = image.convert("RGB")
        picture.info = dict(image.info)
    return picture
