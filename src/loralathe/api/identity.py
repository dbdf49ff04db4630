"""Who is in a picture: the identity card of a person, and how like the card pictures are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.arguments import PathLike
from loralathe.errors import InputError, option

if TYPE_CHECKING:
    from loralathe.likeness import Card, CardFacts
    from loralathe.likeness.intervals import Estimate
    from loralathe.progress import Progress

__all__ = [
    "PictureLikeness", "card_facts", "check_identity", "make_card", "mean_likeness", "read_card",
    "study_pictures",
]  # fmt: skip


@dataclass(frozen=True)
class PictureLikeness:
    """A picture and how like a card it is, −1 to 1; None where nobody is seen. is_person: the verdict."""

    file: Path
    likeness: float | None
    is_person: bool


def make_card(
    photos: Sequence[PathLike],
    model: PathLike,
    *,
    detector: PathLike | None = None,
    trigger: str = "",
    prepare: str | None = None,
    face_box: str | None = None,
    output: PathLike | None = None,
    force: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Card:
    """The identity card of the person in 3 to 8 photos; written to `output`, if that is given.

    model:    an ONNX file that makes vectors of faces or characters, or the judge of a tiny family.
    detector: an ONNX file that finds faces (YuNet or SCRFD); without it the model sees the whole picture.
    trigger:  the words that call the person in prompts.
    prepare:  how the model wants pixels: arcface, pixels, clip, ccip, imagenet or a preprocessor_config.json;
              None: as the file of this name beside the model says, else as models of faces want them.
    face_box: the part of pictures that is looked at, "left,top,right,bottom", each 0 to 1.
    dry_run:  make it, and write nothing.
    Raises InputError for fewer than three photos, photos that show nobody or somebody else, and other files.
    """
    from loralathe.likeness import make_card as make
    from loralathe.likeness import open_embedder, write_card
    from loralathe.likeness.card_file import check_card_output
    from loralathe.likeness.embedders import check_model_file
    from loralathe.likeness.preparation import parse_box, preparation_of

    if output is not None:
        check_card_output(Path(output), force=force)
    check_model_file(Path(model))
    preparation = replace(preparation_of(Path(model), prepare), box=parse_box(face_box))
    embedder = open_embedder(Path(model), None if detector is None else Path(detector), preparation)
    card = make(embedder, [Path(photo) for photo in photos], trigger=trigger, progress=progress)
    if output is not None and not dry_run:
        write_card(Path(output), card, force=force)
    return card


def read_card(path: PathLike, *, model: PathLike | None = None, detector: PathLike | None = None) -> Card:
    """The card in a file. model, detector: where its models are, if they are not found by themselves.

    Raises InputError for a file that is no card, a damaged one, and models that are not those of the card.
    """
    from loralathe.likeness import read_card as read

    return read(
        Path(path),
        model=None if model is None else Path(model),
        detector=None if detector is None else Path(detector),
    )


def card_facts(path: PathLike) -> CardFacts:
    """What a card says of itself; its models need not be there. InputError for a file that is no card."""
    from loralathe.likeness import read_card_facts

    return read_card_facts(Path(path))


def check_identity(
    card: Card, pictures: Sequence[PathLike], *, progress: Progress | None = None
) -> list[PictureLikeness]:
    """How like the card each picture is, in their order. Raises InputError for files that are no pictures."""
    from loralathe.likeness.card import open_photo
    from loralathe.progress import Progress

    card.check()
    found: list[PictureLikeness] = []
    with (progress or Progress()).task("likeness", total=len(pictures), unit="pictures") as task:
        for path in map(Path, pictures):
            (value,) = card.likeness([open_photo(path)])
            found.append(PictureLikeness(path, value, card.is_person(value)))
            task.advance()
    return found


def mean_likeness(found: Sequence[PictureLikeness]) -> Estimate | None:
    """Mean and 95 % interval of the pictures in which somebody is seen; None where there is none."""
    from loralathe.likeness.intervals import estimate

    values = [one.likeness for one in found if one.likeness is not None]
    return estimate(values) if values else None


def study_pictures(folder: PathLike, cells: Sequence[str] = ()) -> list[Path]:
    """Pictures of a grid's cells, "column,row[,sheet]" counted from 1; without any, of all cells.

    Raises InputError for a folder without a grid, and for cells that it does not have or that are not there
    yet.
    """
    from loralathe.api.picture_options import position
    from loralathe.studies import CellStore
    from loralathe.studies.finished import read_cells

    found = read_cells(Path(folder))
    wanted = [position(cell, "cell") for cell in cells] or list(found)
    store = CellStore(Path(folder))
    keys: list[str] = []
    for place in wanted:
        key = found.get(place)
        if key is None or not store.has(key):
            shown = ",".join(str(at + 1) for at in place)
            raise InputError(
                f"the study has no picture of the cell {shown}",
                where=str(folder),
                fix=f"name cells of its grid as column,row: {option('cell', '3,1')}",
            )
        keys.append(key)
    return [store.picture(key) for key in dict.fromkeys(keys)]
