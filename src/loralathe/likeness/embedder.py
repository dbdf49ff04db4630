"""What every model that recognises somebody is here: pictures in, unit vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from loralathe.likeness.places import remember_place
from loralathe.likeness.preparation import Preparation
from loralathe.tensorfiles import content_hash

if TYPE_CHECKING:
    from PIL.Image import Image

Vector: TypeAlias = NDArray[np.float32]
"""(d,), of length 1."""
Kind: TypeAlias = Literal["face", "picture", "portrait"]
"""A face found in the picture; the whole picture; a portrait of the demo's family."""


@dataclass(frozen=True)
class ModelFile:
    """A model file by its name and content."""

    name: str
    sha256: str


def model_file(path: Path) -> ModelFile:
    """The file at `path`; InputError where there is none. Its place is remembered on this machine."""
    found = ModelFile(path.name, content_hash(path))
    remember_place(found.sha256, path)
    return found


class Embedder(Protocol):
    """Makes vectors of pictures; two pictures of one person have a cosine near 1."""

    @property
    def kind(self) -> Kind: ...

    @property
    def model(self) -> Path:
        """The file that makes the vectors."""

    @property
    def detector(self) -> Path | None:
        """The file that finds faces, if faces are looked for."""

    @property
    def preparation(self) -> Preparation:
        """What is done to pixels before the model sees them."""

    def check(self) -> None:
        """Raise InputError or MachineError at once if `vectors`, hours later, would fail."""

    def vectors(self, images: Sequence[Image]) -> list[Vector | None]:
        """One for each picture; None where nobody is seen."""


def unit(vector: Vector) -> Vector:
    """The direction of a vector, float32."""
    wide = vector.astype(np.float64)
    direction: Vector = (wide / max(float(np.linalg.norm(wide)), 1e-12)).astype(np.float32)
    return direction


def cosine(a: Vector, b: Vector) -> float:
    """Of two vectors, −1 to 1, in float64: unit vectors are 1 only as far as float32 holds them."""
    left, right = a.astype(np.float64), b.astype(np.float64)
    size = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(np.clip(left @ right / max(size, 1e-12), -1, 1))
