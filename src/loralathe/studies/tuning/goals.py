"""Objectives: numbers of pictures that a search raises or lowers, from an identity card or from scorers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from loralathe.errors import InputError, did_you_mean, option
from loralathe.likeness.intervals import Estimate, estimate
from loralathe.studies.metrics import hamming, perceptual_hash
from loralathe.studies.scorers import PromptScorer, Scored, Scorer

if TYPE_CHECKING:
    from PIL.Image import Image

LIKENESS, BLEED, PROMPT, DIVERSITY = "likeness", "bleed", "prompt", "diversity"
GOALS = (LIKENESS, BLEED, PROMPT, DIVERSITY)
PROMPT_SCORES = ("prompt", "caption")
"""Scores that say how much of its prompt a picture shows."""
WEIGHTS = {DIVERSITY: 0.5}
"""What a point of these counts beside one of another goal, 1 if it is not named. The first goal has none: it
comes before the others (`choose.py`).
"""
SLACK = 0.01
"""One point: smaller differences count as none."""


class PersonCard(Protocol):
    """Who is meant: the part of an identity card that a search needs. None where nobody is seen."""

    def likeness(self, images: Sequence[Image]) -> list[float | None]:
        """How much each picture is like the person, 0 to 1 (cosines may be less)."""

    def alike(self, pairs: Sequence[tuple[Image, Image]]) -> list[float | None]:
        """Whether the two of each pair show the same person, as a cosine."""


@dataclass(frozen=True, eq=False)
class Shot:
    """The pictures of one candidate in one scene.

    picture: with the trigger word.  plain: without it.  bare: without it, and of the base alone.
    previous: the candidate's picture with the trigger word in the scene before.
    """

    prompt: str
    picture: Image
    plain: Image | None = None
    bare: Image | None = None
    previous: Image | None = None


Measure = Callable[[Sequence[Shot]], list[float | None]]


@dataclass(frozen=True)
class Goal:
    """One objective.

    measure: a number for each shot, about 0 to 1; None where a shot tells nothing.
    up: whether more is better.  slack: differences up to this count as none.
    weigh: what a point of it counts beside one of another goal; the first goal comes before all others.
    plain, back: it needs pictures without the trigger word, or those of the scene before.
    """

    name: str
    measure: Measure = field(repr=False)
    up: bool = True
    slack: float = SLACK
    weigh: float = 1.0
    plain: bool = False
    back: bool = False

    def oriented(self, value: float | None) -> float:
        """The number with its sign turned so that more is better; NaN for none."""
        if value is None:
            return float("nan")
        return value if self.up else -value


def goals_of(
    names: Sequence[str],
    *,
    card: PersonCard | None = None,
    scorers: Sequence[Scorer] = (),
    likeness: str = "",
    plain: bool = False,
    weights: dict[str, float] | None = None,
) -> tuple[Goal, ...]:
    """The objectives by name, the most important one first; without names likeness, then bleed and the prompt
    where they can be measured.

    likeness: the score that tells it where there is no card; "": the first that is not about the prompt.
    plain: whether there are pictures without the trigger word.  weights: name → what a point of it counts
    beside one of another goal, the first one left out.
    A score's own name is an objective, too, and `-NAME` lowers it. Raises InputError for what cannot be
    measured.
    """
    told = _by_name(scorers)
    of_person = likeness or next((name for name in told if name not in PROMPT_SCORES), "")
    of_prompt = next((name for name in PROMPT_SCORES if name in told), "")
    if of_person and of_person not in told:
        raise InputError(
            f"there is no score '{of_person}'",
            where=option("likeness", of_person),
            fix=did_you_mean(of_person, told) or f"scores are {', '.join(told)}",
        )
    known: dict[str, Goal] = {DIVERSITY: Goal(DIVERSITY, _diversity, back=True)}
    if card is not None:
        known[LIKENESS] = Goal(LIKENESS, lambda shots: _likeness(card, shots))
        known[BLEED] = Goal(BLEED, lambda shots: _bleed(card, shots), up=False, plain=True)
    elif of_person:
        known[LIKENESS] = Goal(LIKENESS, _score(told[of_person]))
        known[BLEED] = Goal(BLEED, _rise(told[of_person]), up=False, plain=True)
    if of_prompt:
        known[PROMPT] = Goal(PROMPT, _score(told[of_prompt]))
    if not plain:
        known.pop(BLEED, None)
    usual = [name for name in (LIKENESS, BLEED, PROMPT) if name in known]
    wanted = list(dict.fromkeys(names or usual))
    if not wanted:
        raise InputError(
            "nothing tells how good a picture is",
            fix=f"give {option('card', 'hina.card')}, or {option('scorers', 'prompt=FOLDER')}",
        )
    found = [_goal(name, known, told, plain=plain) for name in wanted]
    return _weighed(found, weights or {})


def estimates(table: NDArray[np.float64], goals: Sequence[Goal]) -> list[Estimate | None]:
    """Of each objective in its own sign, over the scenes that tell something."""
    found: list[Estimate | None] = []
    for column, goal in zip(table.T, goals, strict=True):
        values = [float(value if goal.up else -value) + 0.0 for value in column if not np.isnan(value)]
        found.append(estimate(values) if values else None)
    return found


def _by_name(scorers: Sequence[Scorer]) -> dict[str, Scorer]:
    return {scorer.name: scorer for scorer in scorers}


def _goal(name: str, known: dict[str, Goal], told: dict[str, Scorer], *, plain: bool) -> Goal:
    if name in known:
        return known[name]
    score, up = (name[1:].strip(), False) if name.startswith("-") else (name, True)
    if score in told:
        return Goal(score, _score(told[score]), up=up)
    where = option("goal", name)
    if name == BLEED and not plain:
        fix = f"name the word that calls the person: {option('trigger', 'hina')}"
        raise InputError("bleed is measured on pictures without the trigger word", where=where, fix=fix)
    if name in GOALS:
        needs = option("scorers", "prompt=FOLDER") if name == PROMPT else option("card", "hina.card")
        raise InputError(f"nothing measures '{name}'", where=where, fix=f"give {needs}")
    names = [*known, *told]
    raise InputError(
        f"there is no goal '{name}'",
        where=where,
        fix=did_you_mean(name, names) or f"goals are {', '.join(names)}",
    )


def _weighed(goals: list[Goal], weights: dict[str, float]) -> tuple[Goal, ...]:
    names = [goal.name for goal in goals]
    for name in weights:
        if name not in names:
            fix = did_you_mean(name, names) or f"goals are {', '.join(names)}"
            raise InputError(f"there is no goal '{name}' to weigh", where=option("weigh", name), fix=fix)
    for name, weight in weights.items():
        if name == names[0]:
            raise InputError(
                f"'{name}' comes before the other goals and is not weighed against them",
                where=option("weigh", f"{name}={weight:g}"),
                fix=f"say how much of it may be given up for them: {option('within', '2')}",
            )
        if weight < 0:
            where = option("weigh", f"{name}={weight:g}")
            raise InputError(f"the weight of '{name}' is below 0", where=where)
    return tuple(replace(goal, weigh=weights.get(goal.name, WEIGHTS.get(goal.name, 1.0))) for goal in goals)


def _likeness(card: PersonCard, shots: Sequence[Shot]) -> list[float | None]:
    """0 where nobody is seen: such a picture is of nobody."""
    return [0.0 if value is None else value for value in card.likeness([shot.picture for shot in shots])]


def _bleed(card: PersonCard, shots: Sequence[Shot]) -> list[float | None]:
    """How far the base's own person becomes another one, 1 − cosine; 1 where the person is gone.

    None where the base itself shows nobody.
    """
    whole = _whole(shots)
    found: list[float | None] = [None] * len(shots)
    if not whole:
        return found
    seen = card.likeness([bare for _, _, bare in whole])
    alike = card.alike([(plain, bare) for _, plain, bare in whole])
    for (i, _, _), own, cosine in zip(whole, seen, alike, strict=True):
        if own is not None:
            found[i] = 1.0 if cosine is None else 1.0 - cosine
    return found


def _whole(shots: Sequence[Shot]) -> list[tuple[int, Image, Image]]:
    """(place, plain, bare) of the shots that have both."""
    return [
        (i, shot.plain, shot.bare)
        for i, shot in enumerate(shots)
        if shot.plain is not None and shot.bare is not None
    ]


def _score(scorer: Scorer) -> Measure:
    """A score of the picture with the trigger word; CLIP's, which is in hundredths, as a share."""
    scale = 0.01 if isinstance(scorer, PromptScorer) else 1.0

    def measure(shots: Sequence[Shot]) -> list[float | None]:
        values = scorer.score([Scored(shot.picture, None, shot.prompt) for shot in shots])
        return [None if value is None else value * scale for value in values]

    return measure


def _rise(scorer: Scorer) -> Measure:
    """How much more the base's own person has of the score than without any LoRA."""

    def of(images: Sequence[Image]) -> list[float | None]:
        return scorer.score([Scored(image, None, "") for image in images])

    def measure(shots: Sequence[Shot]) -> list[float | None]:
        whole = _whole(shots)
        found: list[float | None] = [None] * len(shots)
        if whole:
            after, before = of([plain for _, plain, _ in whole]), of([bare for _, _, bare in whole])
            for (i, _, _), one, other in zip(whole, after, before, strict=True):
                found[i] = None if one is None or other is None else one - other
        return found

    return measure


def _diversity(shots: Sequence[Shot]) -> list[float | None]:
    """How different the pictures of neighbouring scenes are: different bits of their perceptual hashes."""
    return [
        None
        if shot.previous is None
        else hamming(perceptual_hash(shot.picture), perceptual_hash(shot.previous)) / 64
        for shot in shots
    ]
