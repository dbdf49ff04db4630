"""The judge as scorers of studies: is it Hina, does she wear the sailor collar, does the caption hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.demo.family import find_family
from loralathe.studies.scorers.protocol import Better, Scored, Scorer

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from loralathe.demo.judge import Judge

SIZE = (128, 128)
IS_HINA, IS_SAILOR, CAPTION = "is hina", "is sailor", "caption"
"""Names of the scores: unlike those of adapters and columns that a study has beside them."""

_TAG = re.compile(r"<[^<>]*>")
_EMPHASIS = re.compile(r"[()\[\]]|:\s*[+-]?[\d.]+(?=[)\]])")


class Bench:
    """One judge for several scorers, opened when the first picture comes; answers of a batch are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._batch: tuple[Image, ...] = ()
        self._answers: dict[str, torch.Tensor] = {}

    @cached_property
    def judge(self) -> Judge:
        from loralathe.demo.judge import open_judge

        return open_judge(self.path)

    def answers(self, images: Sequence[Image]) -> Mapping[str, torch.Tensor]:
        """Probabilities of all questions, (pictures, answers)."""
        batch = tuple(images)
        same = len(batch) == len(self._batch) and all(a is b for a, b in zip(batch, self._batch, strict=True))
        if not same:
            self._answers, self._batch = self.judge.answers(batch), batch
        return self._answers


@dataclass(frozen=True)
class SubjectScorer:
    """Mean probability of the subject's traits, 0 to 1: `hina` has six, `sailor` one."""

    subject: str
    name: str
    bench: Bench = field(repr=False)
    better: Better = "higher"

    def check(self) -> None:
        return

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        return _over_portraits(items, self._scores)

    def _scores(self, items: Sequence[Scored]) -> list[float | None]:
        found = trait_probabilities(self.bench, self.subject, [item.image for item in items])
        return [sum(row) / len(row) for row in zip(*found.values(), strict=True)]


@dataclass(frozen=True)
class CaptionScorer:
    """The share of what the prompt says that the picture shows; None for a prompt that says nothing."""

    bench: Bench = field(repr=False)
    name: str = CAPTION
    better: Better = "higher"

    def check(self) -> None:
        return

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        return _over_portraits(items, self._scores)

    def _scores(self, items: Sequence[Scored]) -> list[float | None]:
        knowledge = self.bench.judge.knowledge
        answers = self.bench.answers([item.image for item in items])
        scores: list[float | None] = []
        for row, item in enumerate(items):
            said = said_by(item.prompt, knowledge.phrases)
            held = [
                int(answers[name][row].argmax()) == knowledge.questions[name].index(value)
                for name, value in said.items()
            ]
            scores.append(sum(held) / len(held) if held else None)
        return scores


def family_scorers(folder: Path | None = None) -> tuple[Scorer, ...]:
    """`is hina`, `is sailor` and `caption`, with the judge of the family in `folder` (see `find_family`)."""
    family = find_family(folder)
    return scorers_of(Bench(family.part(family.judge)))


def scorers_of(bench: Bench) -> tuple[Scorer, ...]:
    """The family's scorers around one judge."""
    return (
        SubjectScorer("hina", IS_HINA, bench),
        SubjectScorer("sailor", IS_SAILOR, bench),
        CaptionScorer(bench),
    )


def trait_probabilities(bench: Bench, subject: str, images: Sequence[Image]) -> dict[str, list[float]]:
    """Trait → its probability in each picture."""
    knowledge = bench.judge.knowledge
    answers = bench.answers(images)
    return {
        name: answers[name][:, knowledge.questions[name].index(value)].tolist()
        for name, value in knowledge.subjects[subject].items()
    }


def said_by(prompt: str, phrases: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Question → answer for every phrase that stands between commas."""
    plain = _EMPHASIS.sub("", _TAG.sub("", prompt)).replace("BREAK", ",")
    parts = {" ".join(part.split()).casefold() for part in plain.split(",")}
    return {
        name: value
        for name, values in phrases.items()
        for value, phrase in values.items()
        if phrase and phrase in parts
    }


def _over_portraits(
    items: Sequence[Scored], score: Callable[[Sequence[Scored]], list[float | None]]
) -> list[float | None]:
    """Scores of the pictures that have the judge's size, None for the others."""
    portraits = [item for item in items if item.image.size == SIZE]
    scores = iter(score(portraits) if portraits else [])
    return [next(scores) if item.image.size == SIZE else None for item in items]
