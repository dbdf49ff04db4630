"""Models that look at the whole picture, or at a fixed part of it: CLIP, CCIP, and ArcFace on cropped
faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loralathe.likeness.embedder import Kind, Vector, unit
from loralathe.likeness.onnx import OnnxSession, check_model, open_onnx, picture_side, run_in_batches
from loralathe.likeness.preparation import Preparation

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
