"""The reader of the demo family's portraits, and portraits as vectors of who they show.

A small convolutional network answers questions about a portrait: the colour of hair and eyes, glasses, …
Its safetensors file lists the questions, how captions word the answers, and which answers show which subject.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from loralathe.errors import InputError
from loralathe.likeness.preparation import Preparation
from loralathe.likeness.vectors import Kind, Vector, unit
from loralathe.tensorfiles import check_is_file, open_tensorfile

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 128
MOST_LAYERS, MOST_WIDTH, MOST_QUESTIONS = 9, 512, 64


@dataclass(frozen=True)
class Knowledge:
    """The questions that a judge answers, and how captions word the answers.

    questions: name → possible answers.  phrases: name → answer → the words of a caption.
    subjects:  trigger word → name → the answer that shows the subject.
    """

    questions: Mapping[str, tuple[str, ...]]
    phrases: Mapping[str, Mapping[str, str]]
    subjects: Mapping[str, Mapping[str, str]]


class Network(nn.Module):
    """(n, 3, 128, 128) in −1..1 to one row of logits per question.

    widths: channels of the convolutions of stride 2, of one of stride 1, and of the last, 1×1.
    """

    def __init__(self, widths: Sequence[int], hidden: int, questions: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        *strided, flat, last = widths
        layers: list[nn.Module] = []
        before = 3
        for width, stride in [*((width, 2) for width in strided), (flat, 1)]:
            layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        side = SIDE >> len(strided)
        layers += [nn.Conv2d(before, last, 1), nn.Flatten(), nn.Linear(last * side * side, hidden), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(hidden, len(values)) for name, values in questions.items()}
        )

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.features(images)
        return {name: head(features) for name, head in self.heads.items()}


@dataclass(frozen=True, eq=False)
class Judge:
    """A network and what it knows."""

    network: Network
    knowledge: Knowledge

    def answers(self, images: Sequence[Image]) -> dict[str, torch.Tensor]:
        """Probabilities per question, (pictures, answers) float32. Pictures are 128×128."""
        pixels = torch.stack([_pixels(image) for image in images])
        with torch.inference_mode():
            return {name: logits.softmax(1) for name, logits in self.network(pixels).items()}


def _pixels(image: Image) -> torch.Tensor:
    rgb = image.convert("RGB")
    if rgb.size != (SIDE, SIDE):
        raise ValueError(f"the judge reads {SIDE}×{SIDE} pictures, not {rgb.size[0]}×{rgb.size[1]}")
    raw = torch.frombuffer(bytearray(rgb.tobytes()), dtype=torch.uint8)
    return raw.reshape(SIDE, SIDE, 3).permute(2, 0, 1).float() / 127.5 - 1


def open_judge(path: Path) -> Judge:
    """The judge in a safetensors file. Raises InputError for any other file."""
    with open_tensorfile(path) as file:
        try:
            about = {key: json.loads(text) for key, text in file.header.metadata.items() if key != "format"}
            questions = {name: tuple(values) for name, values in about["questions"].items()}
            _check_sizes(about["widths"], about["hidden"], questions)
            network = Network(about["widths"], about["hidden"], questions)
            state = {name: file.read(name).float() for name in file.header.tensors}
            lacking = network.load_state_dict(state, strict=False)
            wrong = [name for name in lacking.missing_keys if not name.endswith("num_batches_tracked")]
            if wrong or lacking.unexpected_keys:
                raise KeyError(*wrong, *lacking.unexpected_keys)
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise InputError("this file is not a judge of the tiny family", where=str(path)) from error
    return Judge(network.eval(), Knowledge(questions, about["phrases"], about["subjects"]))


def _check_sizes(widths: Sequence[int], hidden: int, questions: Mapping[str, Sequence[str]]) -> None:
    """ValueError for what no judge has: the network is built before its tensors can be compared."""
    counts = [len(values) for values in questions.values()]
    fits = (
        3 <= len(widths) <= MOST_LAYERS
        and all(0 < int(width) <= MOST_WIDTH for width in (*widths, hidden))
        and 0 < len(counts) <= MOST_QUESTIONS
        and all(0 < count <= MOST_QUESTIONS for count in counts)
    )
    if not fits:
        raise ValueError("sizes that no judge has")


@dataclass(frozen=True)
class Portraits:
    """Vectors of portraits: what the judge answers to the questions that describe a person.

    Those are the questions of subjects with several traits; a collar alone makes no person. Each question has
    the same say: with k answers of probabilities p, its part is √(k / (k − 1)) · (p − 1/k), whose length is
    1 for a certain answer. So the cosine of two sure portraits is the share of equal answers, less 1 / (k −
    1) for unequal ones. Pictures that are not square are no portraits.
    """

    model: Path

    @property
    def kind(self) -> Kind:
        return "portrait"

    @property
    def detector(self) -> Path | None:
        return None

    @property
    def preparation(self) -> Preparation:
        return Preparation()

    def check(self) -> None:
        check_is_file(self.model, "give the judge of a tiny family")

    @cached_property
    def judge(self) -> Judge:
        return open_judge(self.model)

    @cached_property
    def questions(self) -> tuple[str, ...]:
        """Those that describe a person."""
        knowledge = self.judge.knowledge
        several = [traits for traits in knowledge.subjects.values() if len(traits) > 1]
        asked = {name for traits in several or knowledge.subjects.values() for name in traits}
        return tuple(name for name in knowledge.questions if name in asked)

    def vectors(self, images: Sequence[Image]) -> list[Vector | None]:
        from PIL.Image import Resampling

        is_portrait = [image.width == image.height for image in images]
        square = [
            image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE), Resampling.LANCZOS)
            for image, fit in zip(images, is_portrait, strict=True)
            if fit
        ]
        rows = iter(self._rows(square) if square else [])
        return [next(rows) if fit else None for fit in is_portrait]

    def _rows(self, images: Sequence[Image]) -> list[Vector]:
        answers = self.judge.answers(images)
        parts = []
        for name in self.questions:
            found = answers[name].double().numpy()
            k = found.shape[1]
            parts.append((found - 1 / k) * (k / max(k - 1, 1)) ** 0.5)
        return [unit(row) for row in np.concatenate(parts, axis=1)]
