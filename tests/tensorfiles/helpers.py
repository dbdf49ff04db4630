"""Raw safetensors files built by hand, valid or not, without the code under test."""

from __future__ import annotations

import json
import struct
from pathlib import Path


def raw_file(path: Path, header: object, data: bytes = b"") -> Path:
    """Write a file whose JSON is `header` (object, or bytes taken as they are) followed by `data`."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".lathe-")]
