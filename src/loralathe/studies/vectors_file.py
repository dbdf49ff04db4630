"""Vectors of a study's pictures, kept in its folder: looking at a picture again costs nothing.

One file, laid out as safetensors, for each pair of models, `vectors-<digest>.cache`. A picture is known by
its key, its size and its date; where nobody is seen, that is kept, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from loralathe.errors import InputError
from loralathe.likeness.card import Card
from loralathe.likeness.card_file import MOST_NUMBERS
from loralathe.likeness.vectors import Vector
from loralathe.tensorfiles import TensorInfo, encode_header, open_tensorfile, write_whole

ENTRY = "pictures"
TENSOR = "vectors"


def file_of(folder: Path, card: Card) -> Path:
    """The file of what the card's models see; other models, or other preparation, have another."""
    detector = None if card.detector is None else card.detector.sha256
    text = json.dumps([1, card.model.sha256, detector, asdict(card.preparation)])
    return folder / f"vectors-{hashlib.sha256(text.encode()).hexdigest()[:12]}.cache"


def stamp(picture: Path) -> list[int]:
    """What changes with a picture's file."""
    status = picture.stat()
    return [status.st_size, status.st_mtime_ns]


def read_vectors(path: Path, stamps: Mapping[str, list[int]]) -> dict[str, Vector | None]:
    """Key → vector of the pictures that are in the file as they are now; nothing where it is absent or
    damaged.
    """
    if not path.is_file():
        return {}
    try:
        with open_tensorfile(path) as file:
            listed = json.loads(file.header.metadata[ENTRY])
            info = file.header.tensors[TENSOR]
            if info.dtype != "F32" or len(info.shape) != 2 or info.shape[1] > MOST_NUMBERS:
                return {}
            rows = np.frombuffer(bytes(file.read_bytes(TENSOR)), dtype="<f4").reshape(info.shape)
        known = {key: (row, found) for key, (row, found) in listed.items()}
        return {
            key: None if known[key][0] is None else rows[int(known[key][0])].astype(np.float32)
            for key, wanted in stamps.items()
            if key in known and known[key][1] == wanted
        }
    except (InputError, KeyError, ValueError, TypeError, IndexError, AttributeError, RecursionError):
        return {}  # a cache: what cannot be read is made again


def write_vectors(path: Path, vectors: Mapping[str, Vector | None], stamps: Mapping[str, list[int]]) -> None:
    """Replace the file by these vectors; nothing is written where none was seen, for its size would be
    open.
    """
    seen = [(key, vector) for key, vector in vectors.items() if vector is not None]
    if not seen:
        return
    rows = np.ascontiguousarray(np.stack([vector for _, vector in seen]), dtype="<f4")
    place = {key: number for number, (key, _) in enumerate(seen)}
    listed = {key: [place.get(key), stamps[key]] for key in vectors}
    info = TensorInfo(TENSOR, "F32", rows.shape, 0, rows.nbytes)
    write_whole(path, encode_header([info], {ENTRY: json.dumps(listed)}) + rows.tobytes())
