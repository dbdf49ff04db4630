"""Scorers: pictures in, numbers out.

Three compare with the reference picture and need nothing else. Two use a model file that the person gives:
`IdentityScorer` asks whether it is the same face, `PromptScorer` whether the picture shows the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from loralathe.errors import InputError, MachineError, few, option
from loralathe.likeness.card import mean_direction, open_photo
from loralathe.likeness.embedders import WholePicture
from loralathe.likeness.preparation import WHOLE, preparation_of
from loralathe.likeness.vectors import Vector, cosine
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


@dataclass(frozen=True)
class IdentityScorer:
    """Cosine between a picture's vector and the mean one of the reference photos, −1 to 1.

    `model`: ONNX that reads a cropped face, as ArcFace does (see `likeness.WholePicture`). `box` is the part
    of the picture that holds the face, as fractions left, top, right, bottom. A card (`CardScorer`) finds
    faces.
    """

    model: Path
    photos: tuple[Path, ...]
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    name: str = "identity"

    def check(self) -> None:
        WholePicture(self.model).check()
        if not self.photos:
            raise InputError(
                "the identity scorer needs at least one photo of the person",
                fix=f"give {option('photo', 'FILE')}",
            )
        for path in self.photos:
            open_photo(path)

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        wanted = self._wanted
        vectors = self._looking.vectors([item.image for item in items])
        return [None if vector is None else cosine(vector, wanted) for vector in vectors]

    @cached_property
    def _looking(self) -> WholePicture:
        return WholePicture(self.model, replace(preparation_of(self.model, None), box=self.box))

    @cached_property
    def _wanted(self) -> Vector:
        self.check()
        whole = replace(self._looking, preparation=replace(self._looking.preparation, box=WHOLE))
        found = [one for one in whole.vectors([open_photo(path) for path in self.photos]) if one is not None]
        if not found:
            raise InputError("these pictures show nobody", where=few([path.name for path in self.photos]))
        return mean_direction(found)


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
