"""Scorers: pictures in, numbers out.

Three compare with the reference picture and need nothing else. Two use a model file that the person gives:
`IdentityScorer` asks whether it is the same face, `PromptScorer` whether the picture shows the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loralathe.errors import InputError, MachineError, option
from loralathe.rendering.png import DAMAGE, read_picture
from loralathe.studies.metrics import (
    SSIM_WINDOW,
    changed_percentage,
    hamming,
    perceptual_hash,
    pixels_of,
    ssim,
)

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPProcessor


@dataclass(frozen=True, eq=False)
class Scored:
    """One picture to score: itself, the reference picture of its scene (None: nothing to compare with), and
    the prompt it was made from."""

    image: Image.Image
    reference: Image.Image | None
    prompt: str


class Scorer(Protocol):
    """One number for each picture; None where it does not apply (no face, other size, no reference)."""

    @property
    def name(self) -> str:
        """Column name, shown as it is."""

    def check(self) -> None:
        """Raise InputError or MachineError at once if scoring, hours later, would fail."""

    def score(self, items: Sequence[Scored]) -> list[float | None]: ...


BATCH = 16


def score_all(
    scorers: Sequence[Scorer], items: Iterator[Scored], on_batch: Callable[[int], None]
) -> list[dict[str, float | None]]:
    """Scores of every item, a few pictures in memory at a time; `on_batch` hears how many are done."""
    rows: list[dict[str, float | None]] = []
    batch: list[Scored] = []

    def flush() -> None:
        columns = {scorer.name: scorer.score(batch) for scorer in scorers}
        rows.extend({name: column[i] for name, column in columns.items()} for i in range(len(batch)))
        on_batch(len(batch))
        batch.clear()

    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            flush()
    if batch:
        flush()
    return rows


@dataclass(frozen=True)
class ReferenceScorer:
    """A measure between a picture and the reference picture; None where it does not apply."""

    name: str
    measure: Callable[[Image.Image, Image.Image], float | None] = field(repr=False)

    def check(self) -> None:
        return

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        return [
            None if item.reference is None else self.measure(item.image, item.reference) for item in items
        ]


def _changed(a: Image.Image, b: Image.Image) -> float | None:
    """Percentage of channel values that differ by more than 20 (LoRA Block Weight's count)."""
    return changed_percentage(pixels_of(a), pixels_of(b)) if a.size == b.size else None


def _ssim(a: Image.Image, b: Image.Image) -> float | None:
    """SSIM, 1 for equal pictures; None for pictures smaller than its window."""
    return ssim(pixels_of(a), pixels_of(b)) if a.size == b.size and min(a.size) >= SSIM_WINDOW else None


def _hash_distance(a: Image.Image, b: Image.Image) -> float:
    """Different bits of 64 between perceptual hashes; the sizes may differ."""
    return float(hamming(perceptual_hash(a), perceptual_hash(b)))


DEFAULT_SCORERS: tuple[Scorer, ...] = (
    ReferenceScorer("diff %", _changed),
    ReferenceScorer("SSIM", _ssim),
    ReferenceScorer("pHash", _hash_distance),
)

Vectors = NDArray[np.float32]


class OnnxInput(Protocol):
    """An input of a model."""

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
        mean = self._vectors([_open(path) for path in self.photos], whole=True).mean(axis=0)
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
        return read_picture(path)
    except DAMAGE as error:
        raise InputError("this photo cannot be opened", where=str(path)) from error


def _cropped(image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    w, h = image.size
    return image.crop((round(box[0] * w), round(box[1] * h), round(box[2] * w), round(box[3] * h)))


def _normalised(image: Image.Image, size: int) -> Vectors:
    resized = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    values: Vectors = (np.asarray(resized, dtype=np.float32) - 127.5) / 127.5
    return values


_TAG = re.compile(r"<[^<>]*>")
_EMPHASIS = re.compile(r"[()\[\]]|:\s*[+-]?[\d.]+(?=[)\]])")


def plain_prompt(prompt: str) -> str:
    """The prompt without tags, brackets and emphasis numbers, as CLIP should read it."""
    return " ".join(_EMPHASIS.sub("", _TAG.sub("", prompt)).replace("BREAK", ",").split())


@dataclass(frozen=True)
class PromptScorer:
    """100 · cosine between picture and prompt (CLIPScore without its factor 2.5; Hessel and others 2021).

    `folder` holds a transformers CLIP: config.json, weights, tokenizer and preprocessor files.
    """

    folder: Path
    name: str = "prompt"

    def check(self) -> None:
        if not (self.folder / "config.json").is_file():
            raise InputError(
                "the CLIP model of the prompt scorer is not there",
                where=str(self.folder),
                fix="give a folder with config.json, weights, tokenizer and preprocessor files of a CLIP",
            )
        if find_spec("transformers") is None:
            raise MachineError("the prompt scorer needs transformers", fix='pip install "loralathe[render]"')

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        model, processor = self._loaded
        import torch

        inputs = processor(
            text=[plain_prompt(item.prompt) for item in items],
            images=[item.image.convert("RGB") for item in items],
            return_tensors="pt",
            padding=True,
            truncation=True,
        )
        with torch.inference_mode():
            outputs = model(**inputs)
            cosines = torch.nn.functional.cosine_similarity(outputs.image_embeds, outputs.text_embeds)
        return [100 * float(value) for value in cosines]

    @cached_property
    def _loaded(self) -> tuple[CLIPModel, CLIPProcessor]:
        self.check()
        from transformers import CLIPModel, CLIPProcessor

        try:
            model = CLIPModel.from_pretrained(self.folder, local_files_only=True)
            processor = CLIPProcessor.from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise InputError(
                f"this CLIP folder cannot be loaded: {str(error).splitlines()[0]}", where=str(self.folder)
            ) from error
        model.eval()
        return model, processor
