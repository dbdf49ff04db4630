"""The largest face of a picture, found, turned upright and made a vector by a model of ArcFace's type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.likeness import detection
from loralathe.likeness.alignment import aligned
from loralathe.likeness.detection import Detector
from loralathe.likeness.embedder import Kind, Vector
from loralathe.likeness.onnx import OnnxSession, check_model, open_onnx, picture_side
from loralathe.likeness.preparation import Preparation
from loralathe.likeness.whole import USUAL_SIDE, WANTED, embed

if TYPE_CHECKING:
    from PIL.Image import Image


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
        check_model(self.detector, detection.WANTED)

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
