"""Is it the same face: an ArcFace-type ONNX model that the person gives, and photos of the person meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loralathe.errors import InputError, MachineError, option
from loralathe.studies.scorers.protocol import Better, Scored

Vectors = NDArray[np.float32]


class OnnxInput(Protocol):
    """What is read off a model's input."""

    name: str
    shape: list[int | str | None]


class OnnxSession(Protocol):
    """The part of onnxruntime.InferenceSession that is used here."""

    def get_inputs(self) -> list[OnnxInput]: ...

    def run(self, outputs: None, feed: dict[str, Vectors]) -> list[Vectors]: ...


@dataclass(frozen=True)
class IdentityScorer:
    """Cosine between a picture's face vector and the mean one of the reference photos, −1 to 1.

    `model`: ONNX with one image input (n, 3, s, s) or (n, s, s, 3) in RGB, (x − 127.5) / 127.5 as ArcFace has
    it, and one output (n, d). `box` is the part of the picture that holds the face, as fractions left, top,
    right, bottom: models of this type expect a cropped face and no detector is bundled.
    """

    model: Path
    photos: tuple[Path, ...]
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    name: str = "identity"
    better: Better = "higher"

    def check(self) -> None:
        self._check_model()
        _onnxruntime()
        if not self.photos:
            raise InputError(
                "the identity scorer needs at least one photo of the person",
                fix=f"give {option('photo', 'FILE')}",
            )
        for path in self.photos:
            _open(path)

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        vectors = self._vectors([item.image for item in items])
        return [float(value) for value in vectors @ self._wanted]

    @cached_property
    def _wanted(self) -> Vectors:
        self.check()
        photos = [_open(path) for path in self.photos]
        if not photos:
            raise InputError(
                "the identity scorer needs at least one photo of the person",
                fix=f"give {option('photo', 'FILE')}",
            )
        mean = self._vectors(photos, whole=True).mean(axis=0)
        wanted: Vectors = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return wanted

    @cached_property
    def _session(self) -> OnnxSession:
        self._check_model()
        onnxruntime = _onnxruntime()
        try:
            session: OnnxSession = onnxruntime.InferenceSession(
                str(self.model), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no narrower base class
            raise InputError(
                f"this face model cannot be loaded: {str(error).splitlines()[0]}", where=str(self.model)
            ) from error
        return session

    def _check_model(self) -> None:
        if not self.model.is_file():
            raise InputError(
                "the face model of the identity scorer is not there",
                where=str(self.model),
                fix="give the path of an ArcFace-type ONNX file, e.g. w600k_r50.onnx",
            )

    def _vectors(self, images: Sequence[Image.Image], *, whole: bool = False) -> Vectors:
        given = self._session.get_inputs()[0]
        channels_first = given.shape[1] == 3
        side = given.shape[2 if channels_first else 1]
        size = side if isinstance(side, int) else 112
        faces = [image if whole else _cropped(image, self.box) for image in images]
        batch = np.stack([_normalised(face, size) for face in faces])
        if channels_first:
            batch = batch.transpose(0, 3, 1, 2)
        one_by_one = isinstance(given.shape[0], int)
        parts = [batch[i : i + 1] for i in range(len(batch))] if one_by_one else [batch]
        outputs = [self._session.run(None, {given.name: np.ascontiguousarray(part)})[0] for part in parts]
        vectors = np.concatenate(outputs).astype(np.float32)
        unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return unit


def _onnxruntime() -> ModuleType:
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise MachineError("the identity scorer needs onnxruntime", fix="pip install onnxruntime") from error


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            photo: Image.Image = image.convert("RGB")
    except OSError as error:
        raise InputError("this photo cannot be opened", where=str(path)) from error
    return photo


def _cropped(image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    w, h = image.size
    return image.crop((round(box[0] * w), round(box[1] * h), round(box[2] * w), round(box[3] * h)))


def _normalised(image: Image.Image, size: int) -> Vectors:
    resized = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    values: Vectors = (np.asarray(resized, dtype=np.float32) - 127.5) / 127.5
    return values
