"""What every model that recognises somebody is here: pictures in, unit vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from loralathe.likeness.preparation import Preparation

if TYPE_CHECKING:
    from PIL.Image import Image

Vector: TypeAlias = NDArray[np.float32]
"""(d,), of length 1."""
Kind: TypeAlias = Literal["face", "picture", "portrait"]
"""A face found in the picture; the whole picture; a portrait of the demo's family."""


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
    return direction(vector).astype(np.float32)


def distance(a: Vector, b: Vector) -> float:
    """1 − cosine, 0 to 2: half the squared distance of the directions, which is 0 for equal vectors."""
    return float(np.sum((direction(a) - direction(b)) ** 2) / 2)


def direction(vector: Vector) -> NDArray[np.float64]:
    """The same of length 1, in float64: float32 holds the length only nearly."""
    wide = vector.astype(np.float64)
    scaled: NDArray[np.float64] = wide / max(float(np.linalg.norm(wide)), 1e-12)
    return scaled


def cosine(a: Vector, b: Vector) -> float:
    """Of two vectors, −1 to 1."""
    return float(np.clip(direction(a) @ direction(b), -1, 1))
