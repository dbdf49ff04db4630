"""What a soup and a cure have in common: pictures of a checkpoint are looked at, and a LoRA is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from loralathe.api.arguments import File, PathLike
from loralathe.api.judging import Judging, judging_of
from loralathe.api.model import OpenModel
from loralathe.api.model_options import ModelKeywords, ModelOptions, parted
from loralathe.api.picture_options import RANDOM_SEED, Picture, PictureKeywords
from loralathe.api.pictures import open_model

if TYPE_CHECKING:
    from loralathe.likeness import Card
    from loralathe.studies import Scorer
    from loralathe.studies.cures.options import CureOptions
    from loralathe.studies.soups.stir import SoupOptions

    Options = TypeVar("Options", CureOptions, SoupOptions)

Choices = TypeVar("Choices")


@dataclass(frozen=True)
class LookedAtChoices:
    """Who is meant, how long is looked, and where all of it goes.

    card, scorers, photo, face_box, likeness, trigger, also: as for `tune`.
    strength: of the LoRA in pictures.
    output: of the file; None for a name beside the (first) LoRA.  folder: of the pictures; None for one
        beside the output.
    first_seeds, most_seeds: seeds that a candidate begins on, and the most;  check_seeds: fresh ones.
    error: chance that what the seeds call sure is wrong.
    force: replace the output, and another study in the folder.
    """

    card: PathLike | Card | None = None
    scorers: Sequence[str | Scorer] = ()
    photo: Sequence[PathLike] = ()
    face_box: str | None = None
    likeness: str = ""
    trigger: str | Sequence[str] = ()
    also: Sequence[str] = ()
    strength: float = 1.0
    output: PathLike | None = None
    folder: PathLike | None = None
    first_seeds: int = 4
    most_seeds: int = 24
    check_seeds: int = 12
    error: float = 0.05
    force: bool = False


class LookedAtKeywords(PictureKeywords, ModelKeywords, total=False):
    """The fields of `LookedAtChoices`, of `Picture` and of `ModelOptions`."""

    card: PathLike | Card | None
    scorers: Sequence[str | Scorer]
    photo: Sequence[PathLike]
    face_box: str | None
    likeness: str
    trigger: str | Sequence[str]
    also: Sequence[str]
    strength: float
    output: PathLike | None
    folder: PathLike | None
    first_seeds: int
    most_seeds: int
    check_seeds: int
    error: float
    force: bool


def choices_in(keywords: Any, kind: type[Choices]) -> tuple[Choices, ModelOptions, Picture]:
    """Keywords as what they are about."""
    opening, rest = parted(keywords, ModelOptions)
    picture, rest = parted(rest, Picture)
    return kind(**rest), ModelOptions(**opening), Picture(**picture)


def opened(base: File, options: ModelOptions) -> OpenModel:
    """The checkpoint that pictures are made with."""
    return open_model(base, **{name: getattr(options, name) for name in ModelOptions.__dataclass_fields__})


def folder_beside(output: Path) -> Path:
    """Of the pictures, where none is named."""
    return output.with_name(f"{output.stem}-study")


def looked_at(
    choices: LookedAtChoices, model: OpenModel, picture: Picture, folder: Path
) -> tuple[Judging, dict[str, Any]]:
    """How it is judged, and the options that both studies have."""
    request = model.request_of((), picture)
    model.check_uses(request)
    judging = judging_of(choices)  # type: ignore[arg-type]  # `goal` and `weigh` are those of each
    return judging, {
        "request": request,
        "folder": folder,
        "goals": judging.goals,
        "triggers": judging.triggers,
        "also": tuple(choices.also),
        "strength": choices.strength,
        "first": choices.first_seeds,
        "most": choices.most_seeds,
        "check": choices.check_seeds,
        "error": choices.error,
        "context": model.context_of(),
        "force": choices.force,
    }


def with_own_seed(options: Options, picture: Picture) -> Options:
    """A seed that nobody chose is drawn once for the folder: the same call goes on with the same pictures."""
    from loralathe.studies import SeedBook

    if picture.seed != RANDOM_SEED:
        return options
    return replace(options, request=replace(options.request, seed=SeedBook(options.folder).next()))
