"""Which embedder a model file is."""

from __future__ import annotations

from pathlib import Path

from loralathe.errors import InputError, option
from loralathe.likeness import detection
from loralathe.likeness.embedder import Embedder
from loralathe.likeness.faces import Faces
from loralathe.likeness.preparation import Preparation
from loralathe.likeness.preparations import preparation_of
from loralathe.likeness.whole import WANTED, WholePicture
from loralathe.tensorfiles import check_is_file


def open_embedder(
    model: Path, detector: Path | None = None, preparation: Preparation | None = None
) -> Embedder:
    """The embedder of a model file. Nothing is loaded before the first picture.

    A safetensors file is the judge of a tiny family, any other an ONNX model.
    preparation: of its pixels; None: what the model, or the file beside it, says (see `preparations`).
    Raises InputError for a file that is not there.
    """
    check_model_file(model)
    if detector is not None:
        check_is_file(detector, detection.WANTED)
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
