"""Which embedder a model file is."""

from __future__ import annotations

from pathlib import Path

from loralathe.errors import InputError
from loralathe.likeness.embedder import Embedder
from loralathe.likeness.portraits import Portraits
from loralathe.likeness.preparation import Preparation
from loralathe.likeness.whole import WANTED, WholePicture
from loralathe.tensorfiles import check_is_file


def open_embedder(
    model: Path, detector: Path | None = None, preparation: Preparation | None = None
) -> Embedder:
    """The embedder of a model file. Nothing is loaded before the first picture.

    A safetensors file is the judge of a tiny family, any other an ONNX model. Raises InputError for a file
    that is not there.
    """
    check_is_file(model, WANTED)
    if detector is not None:
        raise InputError("this version cannot read detectors of faces", where=str(detector))
    if model.suffix.casefold() == ".safetensors":
        return Portraits(model)
    return WholePicture(model, preparation or Preparation())
