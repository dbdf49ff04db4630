"""Models that make vectors: of the whole picture, or of the largest face in it; and which one a file is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loralathe.errors import InputError, option
from loralathe.likeness.alignment import aligned
from loralathe.likeness.detectors import WANTED_DETECTOR, Detector
from loralathe.likeness.onnx import OnnxSession, check_model, open_onnx, picture_side, run_in_batches
from loralathe.likeness.preparation import Preparation, preparation_of
from loralathe.likeness.vectors import Embedder, Kind, Vector, unit
from loralathe.tensorfiles import check_is_file

if TYPE_CHECKING:
    from PIL.Image import Image

WANTED = "give the path of an ArcFace-type ONNX file, e.g. w600k_r50.onnx"
USUAL_SIDE = 112
"""Of models that leave it open: ArcFace's."""
PREPARATION = Preparation()


@dataclass(frozen=True)
class WholePicture:
    """Vectors of an ONNX model with one picture as its input, (n, 3, s, s) or (n, s, s, 3), and rows of an
    output (n, d)."""

    model: Path
    preparation: Preparation = PREPARATION

    @property
    def kind(self) -> Kind:
        return "picture"

    @property
    def detector(self) -> Path | None:
        return None

    def check(self) -> None:
        check_model(self.model, WANTED)

    @cached_property
    def session(self) -> OnnxSession:
        return open_onnx(self.model, WANTED)

    def vectors(self, images: Sequence[Image]) -> list[Vector | None]:
        cut = [self.preparation.cut(image) for image in images]
        return [*embed(self.session, cut, self.preparation, str(self.model))] if cut else []


def embed(
    session: OnnxSession, images: Sequence[Image], preparation: Preparation, where: str
) -> list[Vector]:
    """A unit vector for each picture."""
    side, channels_first = picture_side(session, where, preparation.side or USUAL_SIDE)
    batch = np.stack([preparation.values(image, side) for image in images])
    if not channels_first:
        batch = batch.transpose(0, 2, 3, 1)
    return [unit(row) for row in run_in_batches(session, batch, where)]


@dataclass(frozen=True)
class Faces:
    """Vectors of the largest face in each picture; None where no face is found."""

    model: Path
    detector: Path
    preparation: Preparation

    @property
    def kind(self) -> Kind:
        return "face"

    def check(self) -> None:
        check_model(self.model, WANTED)
        check_model(self.detector, WANTED_DETECTOR)

    @cached_property
    def session(self) -> OnnxSession:
        return open_onnx(self.model, WANTED)

    @cached_property
    def finder(self) -> Detector:
        return Detector(self.detector)

    def vectors(self, images: Sequence[Image]) -> list[Vector | None]:
        side, _ = picture_side(self.session, str(self.model), self.preparation.side or USUAL_SIDE)
        faces = [self._face(self.preparation.cut(image), side) for image in images]
        seen = [face for face in faces if face is not None]
        rows = iter(embed(self.session, seen, self.preparation, str(self.model)) if seen else [])
        return [None if face is None else next(rows) for face in faces]

    def _face(self, image: Image, side: int) -> Image | None:
        found = self.finder.faces(image)
        return aligned(image, found.points[0], side) if len(found.points) else None


def open_embedder(
    model: Path, detector: Path | None = None, preparation: Preparation | None = None
) -> Embedder:
    """The embedder of a model file. Nothing is loaded before the first picture.

    A safetensors file is the judge of a tiny family, any other an ONNX model.
    preparation: of its pixels; None: what the model, or the file beside it, says (see `preparation`).
    Raises InputError for a file that is not there.
    """
    check_model_file(model)
    if detector is not None:
        check_is_file(detector, WANTED_DETECTOR)
    if model.suffix.casefold() == ".safetensors":
        if detector is not None:
            raise InputError(
                "the judge of a tiny family needs no detector",
                where=str(model),
                fix=f"leave out {option('detector')}",
            )
        from loralathe.likeness.portraits import Portraits  # brings torch, which ONNX models need not

        return Portraits(model)
    prepared = preparation or preparation_of(model, None)
    return WholePicture(model, prepared) if detector is None else Faces(model, detector, prepared)


def check_model_file(model: Path) -> None:
    """InputError when the file is not there."""
    check_is_file(model, WANTED)
