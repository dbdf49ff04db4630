"""The scores of the tiny family's judge for studies: is it Hina, the sailor collar, the caption.

The judge (`likeness.portraits`) reads the attributes off a portrait. It was trained on drawings beside the
family (`training/judge.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.demo.family import find_family
from loralathe.likeness.portraits import SIDE, Judge, Knowledge, open_judge
from loralathe.studies import Scored, Scorer, plain_prompt

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

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
    return scorers_of(CachedJudge(family_judge(folder)))


def family_judge(folder: Path | None = None) -> Path:
    """The model that cards of the family's characters are made with (see `find_family`)."""
    family = find_family(folder)
    return family.part(family.judge)


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
