"""How pictures are judged: the objectives that an identity card and scorers give, and the trigger words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from loralathe.api.arguments import PathLike, texts
from loralathe.api.picture_options import GridChoices, card_file, card_of, scorers_of
from loralathe.errors import InputError, option

if TYPE_CHECKING:
    from loralathe.likeness import Card
    from loralathe.studies import Scorer
    from loralathe.studies.tuning.goals import Goal


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
