"""The judge of the tiny family, and its scores for studies: is it Hina, the sailor collar, the caption.

A small convolutional network reads the attributes off a portrait. It was trained on drawings beside the
family (`training/judge.py`). Its file lists the questions, how captions word the answers, and which answers
show the subject of each LoRA.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from loralathe.demo.family import find_family
from loralathe.errors import InputError
from loralathe.studies import Scored, Scorer, plain_prompt
from loralathe.tensorfiles import open_tensorfile

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 128


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
            network = Network(about["widths"], about["hidden"], questions)
            state = {name: file.read(name).float() for name in file.header.tensors}
            lacking = network.load_state_dict(state, strict=False)
            wrong = [name for name in lacking.missing_keys if not name.endswith("num_batches_tracked")]
            if wrong or lacking.unexpected_keys:
                raise KeyError(*wrong, *lacking.unexpected_keys)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise InputError("this file is not a judge of the tiny family", where=str(path)) from error
    return Judge(network.eval(), Knowledge(questions, about["phrases"], about["subjects"]))


IS_HINA, IS_SAILOR, CAPTION = "is hina", "is sailor", "caption"
"""Names of the scores: unlike those of adapters and columns that a study has beside them."""


class CachedJudge:
    """A judge that several scorers share: opened for the first picture, the answers of a batch are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._batch: tuple[Image, ...] = ()
        self._answers: dict[str, torch.Tensor] = {}

    @cached_property
    def opened(self) -> Judge:
        return open_judge(self.path)

    @property
    def knowledge(self) -> Knowledge:
        return self.opened.knowledge

    def answers(self, images: Sequence[Image]) -> Mapping[str, torch.Tensor]:
        """Probabilities of all questions, (pictures, answers)."""
        batch = tuple(images)
        same = len(batch) == len(self._batch) and all(a is b for a, b in zip(batch, self._batch, strict=True))
        if not same:
            self._answers, self._batch = self.opened.answers(batch), batch
        return self._answers


@dataclass(frozen=True)
class PortraitScorer:
    """A score that the judge gives to portraits, 0 to 1; None for pictures of another size."""

    name: str
    measure: Callable[[Sequence[Scored]], list[float | None]] = field(repr=False)

    def check(self) -> None:
        return

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        portraits = [item for item in items if item.image.size == (SIDE, SIDE)]
        scores = iter(self.measure(portraits) if portraits else [])
        return [next(scores) if item.image.size == (SIDE, SIDE) else None for item in items]


def family_scorers(folder: Path | None = None) -> tuple[Scorer, ...]:
    """`is hina`, `is sailor` and `caption`, with the judge of the family in `folder` (see `find_family`)."""
    family = find_family(folder)
    return scorers_of(CachedJudge(family.part(family.judge)))


def scorers_of(judge: CachedJudge) -> tuple[Scorer, ...]:
    """The family's scorers around one judge."""
    return (
        PortraitScorer(IS_HINA, partial(_subject_scores, judge, "hina")),
        PortraitScorer(IS_SAILOR, partial(_subject_scores, judge, "sailor")),
        PortraitScorer(CAPTION, partial(_caption_scores, judge)),
    )


def _subject_scores(judge: CachedJudge, subject: str, items: Sequence[Scored]) -> list[float | None]:
    """Mean probability of the subject's traits: `hina` has six, `sailor` one."""
    found = trait_probabilities(judge, subject, [item.image for item in items])
    return [sum(row) / len(row) for row in zip(*found.values(), strict=True)]


def _caption_scores(judge: CachedJudge, items: Sequence[Scored]) -> list[float | None]:
    """The share of the prompt's phrases that the picture shows; None for a prompt without any."""
    knowledge = judge.knowledge
    answers = judge.answers([item.image for item in items])
    scores: list[float | None] = []
    for row, item in enumerate(items):
        said = said_by(item.prompt, knowledge.phrases)
        held = [
            int(answers[name][row].argmax()) == knowledge.questions[name].index(value)
            for name, value in said.items()
        ]
        scores.append(sum(held) / len(held) if held else None)
    return scores


def trait_probabilities(judge: CachedJudge, subject: str, images: Sequence[Image]) -> dict[str, list[float]]:
    """Trait → its probability in each picture."""
    knowledge = judge.knowledge
    answers = judge.answers(images)
    return {
        name: answers[name][:, knowledge.questions[name].index(value)].tolist()
        for name, value in knowledge.subjects[subject].items()
    }


def said_by(prompt: str, phrases: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Question → answer for every phrase that stands between commas."""
    parts = {part.strip().casefold() for part in plain_prompt(prompt).split(",")}
    return {
        name: value
        for name, values in phrases.items()
        for value, phrase in values.items()
        if phrase and phrase in parts
    }
