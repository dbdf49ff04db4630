"""The identity card: a few pictures of one person as vectors, and how like them another picture is.

A picture's *likeness* is the cosine between its vector and the direction of the mean of the references, −1
to 1.

The *threshold* comes from the spread of the references. Each is compared with the mean of the others (leave
one out), which gives n cosines with mean m and standard deviation s. The threshold is the lower end of the
one-sided 95 % prediction interval for one more picture of the same person, m − t₀.₉₅,ₙ₋₁ · s · √(1 + 1/n).
At least `LEAST_ROOM` is left under m: references that are nearly the same picture say nothing about other
ones. It never falls below `LOWEST`: whoever is less alike is nobody in particular.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import numpy as np

from loralathe.errors import InputError, few
from loralathe.likeness.intervals import student_quantile
from loralathe.likeness.model_files import ModelFile, model_file
from loralathe.likeness.preparation import Preparation
from loralathe.likeness.vectors import Embedder, Kind, Vector, cosine, unit
from loralathe.progress import Progress
from loralathe.rendering.png import DAMAGE, read_picture

if TYPE_CHECKING:
    from PIL.Image import Image

FEWEST = 3
"""Pictures, without which there is no spread and so no verdict."""
MOST = 64
LEAST_ROOM = 0.05
LOWEST = 0.1
BATCH = 16


@dataclass(frozen=True, eq=False)
class Reference:
    """A picture of the person: its file's name and its vector."""

    name: str
    vector: Vector = field(repr=False)


@dataclass(frozen=True, eq=False)
class Card:
    """Who is meant, and by which model.

    model, detector: the files that make vectors; other files make other vectors.
    threshold: likeness from which on a picture is taken for the person.
    trigger: the word, or words, that call the person in prompts; may be empty.
    embedder: the models of this card, opened for the first picture.
    """

    kind: Kind
    model: ModelFile
    detector: ModelFile | None
    preparation: Preparation
    references: tuple[Reference, ...]
    threshold: float
    trigger: str
    embedder: Embedder = field(repr=False)

    @property
    def wanted(self) -> Vector:
        """The direction of the mean of the references."""
        return mean_direction([one.vector for one in self.references])

    @property
    def spread(self) -> list[float]:
        """Each reference against the mean of the others: what the threshold comes from."""
        return left_out_cosines([one.vector for one in self.references])

    def check(self) -> None:
        """Raise InputError or MachineError at once if `likeness`, hours later, would fail."""
        self.embedder.check()

    def likeness(self, images: Sequence[Image]) -> list[float | None]:
        """Of each picture; None where nobody is seen (no face, a blank picture)."""
        wanted = self.wanted
        return [None if vector is None else cosine(vector, wanted) for vector in self.vectors(images)]

    def alike(self, pairs: Sequence[tuple[Image, Image]]) -> list[float | None]:
        """Cosine of the two pictures of each pair; None where nobody is seen in one of them."""
        # A picture is often in several pairs: it is looked at once.
        images = {id(image): image for pair in pairs for image in pair}
        found = dict(zip(images, self.vectors(list(images.values())), strict=True))
        return [_cosine(found[id(a)], found[id(b)]) for a, b in pairs]

    def vectors(self, images: Sequence[Image]) -> list[Vector | None]:
        """Unit vectors, a few pictures at a time; None where nobody is seen."""
        return vectors_of(self.embedder, images)

    def is_person(self, likeness: float | None) -> bool:
        """The verdict."""
        return likeness is not None and likeness >= self.threshold


def _cosine(a: Vector | None, b: Vector | None) -> float | None:
    return None if a is None or b is None else cosine(a, b)


def vectors_of(embedder: Embedder, images: Sequence[Image]) -> list[Vector | None]:
    """A unit vector for each picture; None where nobody is seen, which is so in every picture of one
    colour.
    """
    seen = [image for image in images if not is_blank(image)]
    starts = range(0, len(seen), BATCH)
    found = iter([one for start in starts for one in embedder.vectors(seen[start : start + BATCH])])
    return [None if is_blank(image) else next(found) for image in images]


def mean_direction(vectors: Sequence[Vector]) -> Vector:
    """The direction of the mean of unit vectors."""
    return unit(np.mean(np.stack(vectors).astype(np.float64), axis=0))


def make_card(
    embedder: Embedder, photos: Sequence[Path], *, trigger: str = "", progress: Progress | None = None
) -> Card:
    """The card of the person in these photos, by this embedder.

    Raises InputError for fewer than three photos, for one that cannot be read or shows nobody (all such are
    named), for one given twice, and for photos that show different people.
    """
    check_count(len(photos))
    embedder.check()
    images = [open_photo(path) for path in photos]
    names = [path.name for path in photos]
    return card_of(embedder, names, images, trigger=trigger, progress=progress)


def check_count(count: int) -> None:
    """InputError unless a card can be made of so many pictures."""
    if count < FEWEST:
        raise InputError(
            f"a card needs at least {FEWEST} pictures of the person, not {count}",
            where="fewer do not tell how unlike pictures of one person are, so there would be no verdict",
            fix="give 3 to 8 pictures, as different as you have",
        )
    if count > MOST:
        raise InputError(
            f"a card is made of at most {MOST} pictures, not {count}", fix="give 3 to 8 good ones"
        )


def card_of(
    embedder: Embedder,
    names: Sequence[str],
    images: Sequence[Image],
    *,
    trigger: str = "",
    progress: Progress | None = None,
) -> Card:
    """The same of pictures in memory and their names."""
    check_count(len(images))
    _check_twice(names, images)
    vectors: list[Vector | None] = []
    with (progress or Progress()).task("card", total=len(images), unit="pictures") as task:
        for image in images:
            vectors += vectors_of(embedder, [image])
            task.advance()
    unseen = [name for name, vector in zip(names, vectors, strict=True) if vector is None]
    if unseen:
        raise InputError(
            "no face is found" if embedder.kind == "face" else "these pictures show nobody",
            where=few(unseen),
            fix="leave them out, or give pictures in which the face is large, sharp and seen from the front",
        )
    references = tuple(
        Reference(name, vector) for name, vector in zip(names, vectors, strict=True) if vector is not None
    )
    _check_person(references)
    return Card(
        kind=embedder.kind,
        model=model_file(embedder.model),
        detector=None if embedder.detector is None else model_file(embedder.detector),
        preparation=embedder.preparation,
        references=references,
        threshold=threshold_of([one.vector for one in references]),
        trigger=trigger,
        embedder=embedder,
    )


def left_out_cosines(vectors: Sequence[Vector]) -> list[float]:
    """Of each vector with the direction of the mean of all others."""
    return [
        cosine(vector, mean_direction([*vectors[:i], *vectors[i + 1 :]])) for i, vector in enumerate(vectors)
    ]


def threshold_of(vectors: Sequence[Vector]) -> float:
    """As this file's docstring says, of at least three unit vectors."""
    found = left_out_cosines(vectors)
    n = len(found)
    room = student_quantile(0.95, n - 1) * stdev(found) * sqrt(1 + 1 / n)
    return max(fmean(found) - max(room, LEAST_ROOM), LOWEST)


def _check_twice(names: Sequence[str], images: Sequence[Image]) -> None:
    """InputError for a picture that is given twice: it would say that the person never looks different."""
    known: dict[tuple[tuple[int, int], bytes], int] = {}
    for i, image in enumerate(images):
        before = known.setdefault((image.size, sha256(image.convert("RGB").tobytes()).digest()), i)
        if before != i:
            raise InputError(
                "two of the photos are the same picture",
                where=f"{names[before]}, {names[i]}",
                fix="leave one of them out: a card needs different pictures of the person",
            )


def _check_person(references: Sequence[Reference]) -> None:
    """InputError for references of another person than the rest."""
    cosines = left_out_cosines([one.vector for one in references])
    odd = [one.name for one, found in zip(references, cosines, strict=True) if found < LOWEST]
    if odd:
        raise InputError(
            "some of the photos do not show the person of the others",
            where=few(odd),
            fix="leave them out; if all of them are of one person, this model cannot tell who it is",
        )


def open_photo(path: Path) -> Image:
    """A picture that a person gives; InputError when it is none."""
    try:
        return read_picture(path)
    except DAMAGE as error:
        raise InputError("this photo cannot be opened", where=str(path)) from error


def is_blank(image: Image) -> bool:
    """Whether every pixel has the same colour: nobody is in such a picture, whatever a model answers."""
    extrema = image.convert("RGB").getextrema()
    return all(low == high for low, high in extrema)  # type: ignore[misc]
