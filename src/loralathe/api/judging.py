"""How pictures are judged: the objectives that an identity card and scorers give, and the trigger words."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from loralathe.api.arguments import PathLike, texts
from loralathe.api.picture_options import GridChoices
from loralathe.errors import InputError, did_you_mean, option

if TYPE_CHECKING:
    from loralathe.likeness import Card
    from loralathe.studies import Scorer
    from loralathe.studies.tuning.goals import Goal

SCORERS = ("identity", "prompt", "family", "none")


class JudgingChoices(Protocol):
    """What a person says of it; see `TuneChoices`."""

    @property
    def card(self) -> PathLike | Card | None: ...
    @property
    def scorers(self) -> Sequence[str | Scorer]: ...
    @property
    def photo(self) -> Sequence[PathLike]: ...
    @property
    def face_box(self) -> str | None: ...
    @property
    def likeness(self) -> str: ...
    @property
    def trigger(self) -> str | Sequence[str]: ...
    @property
    def goal(self) -> Sequence[str]: ...
    @property
    def weigh(self) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class Judging:
    """The objectives, the words that pictures of bleed lack, and the card's file with its SHA-256."""

    goals: tuple[Goal, ...]
    triggers: tuple[str, ...]
    card: tuple[str, str] = ("", "")


def within_of(points: float) -> float:
    """What of the first goal may be given up, as a share of 1. Raises InputError for what is none."""
    if not 0 <= points <= 100:
        raise InputError(
            f"{points:g} points cannot be given up",
            where=option("within", points),
            fix=f"a goal has 0 to 100 points; {option('within', 2)} is usual",
        )
    return points / 100


def judging_of(choices: JudgingChoices) -> Judging:
    """Opens the card, if its file is given. Raises InputError for what cannot be measured."""
    from loralathe.studies.tuning.goals import goals_of

    card, trigger = card_of(choices.card), texts(choices.trigger)
    if card is not None and card.trigger:
        trigger = trigger or [card.trigger]
    scorers = GridChoices(scorers=("none", *choices.scorers), photo=choices.photo, face_box=choices.face_box)
    goals = goals_of(
        choices.goal,
        card=card,
        scorers=scorers_of(scorers),
        likeness=choices.likeness,
        plain=bool(trigger),
        weights=dict(choices.weigh),
    )
    return Judging(goals, tuple(trigger), card_file(choices.card))


def scorers_of(choices: GridChoices) -> tuple[Scorer, ...]:
    """The built-in scorers (without, if "none" is asked for) and those asked for; models are checked now."""
    from loralathe.studies import DEFAULT_SCORERS

    found: list[Scorer] = [] if "none" in choices.scorers else list(DEFAULT_SCORERS)
    for one in choices.scorers:
        if not isinstance(one, str):
            found.append(one)
        elif one != "none":
            found.append(_scorer(one, choices))
    for scorer in found:
        scorer.check()
    return tuple(found)


def card_of(choice: PathLike | Card | None) -> Card | None:
    """The card that is given, read if it is a file, and its models checked now."""
    if choice is None:
        return None
    from loralathe.likeness import read_card

    card = read_card(Path(choice)) if isinstance(choice, (str, os.PathLike)) else choice
    card.check()
    return card


def card_file(choice: PathLike | Card | None) -> tuple[str, str]:
    """Name and SHA-256 of the card's file; a card in memory has no hash, none has neither."""
    from loralathe.engine.record import IN_MEMORY
    from loralathe.tensorfiles import content_hash

    if not isinstance(choice, (str, os.PathLike)):
        return ("", "") if choice is None else (IN_MEMORY, "")
    return Path(choice).name, content_hash(choice)


def _scorer(word: str, choices: GridChoices) -> Scorer:
    from loralathe.likeness.preparation import parse_box
    from loralathe.studies import IdentityScorer, PromptScorer

    name, equals, path = word.partition("=")
    where = option("scorers", word)
    if name not in SCORERS:
        raise InputError(
            f"there is no scorer '{name}'",
            where=where,
            fix=did_you_mean(name, SCORERS)
            or "scorers are identity=MODEL.onnx, prompt=FOLDER, family, and none",
        )
    if not equals or not path:
        example = "identity=w600k_r50.onnx" if name == "identity" else f"{name}=clip-vit-base-patch32"
        raise InputError(f"the scorer '{name}' needs a model", where=where, fix=option("scorers", example))
    if name == "identity":
        return IdentityScorer(Path(path), tuple(map(Path, choices.photo)), parse_box(choices.face_box))
    return PromptScorer(Path(path))
