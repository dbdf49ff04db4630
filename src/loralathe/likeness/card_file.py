"""The identity card as a file: a safetensors file of a few kilobytes, the vectors as its only tensor.

Its metadata has one entry, `lathe_identity_card`, a JSON object: which models made the vectors, by name and
SHA-256, how pictures were prepared for them, names of the references, threshold and trigger words. The models
themselves stay where they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from loralathe.errors import InputError, option
from loralathe.likeness.card import FEWEST, MOST, Card, Reference
from loralathe.likeness.embedders import open_embedder
from loralathe.likeness.model_files import ModelFile, model_file, remembered_place
from loralathe.likeness.preparation import MOST_SIDE, Fit, Preparation, Triple
from loralathe.likeness.vectors import Embedder, Kind, unit
from loralathe.tensorfiles import (
    MODEL_SUFFIXES,
    TensorInfo,
    check_output,
    encode_header,
    files_called,
    is_readable,
    open_tensorfile,
    write_whole,
)

ENTRY = "lathe_identity_card"
VERSION = 1
TENSOR = "references"
MOST_NUMBERS = 1 << 16
"""Of a vector. Models of faces have 512."""
LEAST_SPREAD = 1e-6
"""Of pixels, below which a division by it says nothing any more."""
LARGEST = 1e6
LONGEST = 1000
"""Characters of a name or of the trigger words."""
_AGAIN = "make the card again with `lathe identity make`"


def write_card(path: Path, card: Card, *, force: bool = False) -> Path:
    """Write a card, whole or not at all. Raises InputError for a name of a model file, or one that is
    taken.
    """
    check_card_output(path, force=force)
    vectors = np.ascontiguousarray(np.stack([one.vector for one in card.references]), dtype="<f4")
    info = TensorInfo(TENSOR, "F32", vectors.shape, 0, vectors.nbytes)
    write_whole(
        path, encode_header([info], {ENTRY: json.dumps(_about(card), sort_keys=True)}) + vectors.tobytes()
    )
    return path


def check_card_output(path: Path, *, force: bool = False) -> None:
    """The same errors, before anything is computed."""
    check_output(path, (), force, suffix=None)
    if path.name.casefold().endswith(MODEL_SUFFIXES):
        raise InputError(
            "this is the name of a model file, not of an identity card",
            where=str(path),
            fix=f"name it '{path.stem}.card'",
        )


def _about(card: Card) -> dict[str, object]:
    return {
        "version": VERSION,
        "kind": card.kind,
        "model": asdict(card.model),
        "detector": None if card.detector is None else asdict(card.detector),
        "preparation": asdict(card.preparation),
        "references": [one.name for one in card.references],
        "threshold": card.threshold,
        "trigger": card.trigger,
    }


def read_card(path: Path, *, model: Path | None = None, detector: Path | None = None) -> Card:
    """The card in a file, with the models that made it.

    model, detector: where these files are; else they are looked for beside the card, in the working folder,
    and where this machine had them last.
    Raises InputError for a file that is no card, a damaged one, and for models that are not those of the
    card.
    """
    about, rows = _read(path)
    facts = _facts(path, about)
    names = facts.references
    try:
        preparation = _preparation(about["preparation"])
        if not FEWEST <= len(names) <= MOST or len(names) != len(rows) or not -1 <= facts.threshold <= 1:
            raise ValueError("numbers that do not fit together")
        if not np.isfinite(rows).all() or not np.allclose(
            np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=1e-3
        ):
            raise ValueError("vectors that have not the length 1")
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path) from error
    embedder = _embedder(path, facts.model, facts.detector, preparation, model, detector)
    references = tuple(Reference(name, unit(row)) for name, row in zip(names, rows, strict=True))
    return Card(
        facts.kind, facts.model, facts.detector, preparation, references, facts.threshold, facts.trigger,
        embedder,
    )  # fmt: skip


@dataclass(frozen=True)
class CardFacts:
    """What a card says of itself: the models that made it, its pictures by name, the words that call it."""

    kind: Kind
    model: ModelFile
    detector: ModelFile | None
    references: tuple[str, ...]
    threshold: float
    trigger: str


def read_card_facts(path: Path) -> CardFacts:
    """Of a card whose models may be anywhere. InputError for a file that is no card, and a damaged one."""
    about, _ = _read(path)
    return _facts(path, about)


def _facts(path: Path, about: Mapping[str, object]) -> CardFacts:
    try:
        return CardFacts(
            _kind(about["kind"]),
            _model_file(about["model"]),
            None if about["detector"] is None else _model_file(about["detector"]),
            tuple(_text(name) for name in _listed(about["references"])),
            _number(about["threshold"]),
            _text(about["trigger"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path) from error


def _read(path: Path) -> tuple[Mapping[str, object], np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """What the card says, and (n, d) vectors."""
    with open_tensorfile(path) as file:
        text = file.header.metadata.get(ENTRY)
        if text is None:
            raise InputError(
                "this file is not an identity card",
                where=str(path),
                fix="give a file that `lathe identity make` has written",
            )
        info = file.header.tensors.get(TENSOR)
        fits = info is not None and info.dtype == "F32" and len(info.shape) == 2
        if info is None or not fits or not (0 < info.shape[1] <= MOST_NUMBERS and info.shape[0] <= MOST):
            raise _damaged(path)
        rows = np.frombuffer(bytes(file.read_bytes(TENSOR)), dtype="<f4").reshape(
            info.shape[0], info.shape[1]
        )
    try:
        about = json.loads(text)
        version = about["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path) from error
    if version != VERSION:
        raise InputError(
            "this identity card was written by another version of lathe", where=str(path), fix=_AGAIN
        )
    return about, rows


def _damaged(path: Path) -> InputError:
    return InputError("this identity card is damaged", where=str(path), fix=_AGAIN)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST or "\0" in value:
        raise TypeError("not a short text")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < LARGEST:
        raise TypeError("not a number")
    return float(value)


def _listed(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _mapped(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _kind(value: object) -> Kind:
    if value == "face" or value == "picture" or value == "portrait":  # noqa: PLR1714  (narrows the type)
        return value
    raise ValueError("no kind that is known")


def _model_file(value: object) -> ModelFile:
    found = _mapped(value)
    return ModelFile(_text(found["name"]), _text(found["sha256"]))


def _preparation(value: object) -> Preparation:
    found = _mapped(value)
    mean, std, box = (tuple(map(_number, _listed(found[name]))) for name in ("mean", "std", "box"))
    side, fit = int(_number(found["side"])), _fit(found["fit"])
    if (len(mean), len(std), len(box)) != (3, 3, 4) or not 0 <= side <= MOST_SIDE or min(std) < LEAST_SPREAD:
        raise ValueError("no such preparation")
    left, top, right, bottom = box
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError("no such box")
    three, more, four = _triple(mean), _triple(std), (left, top, right, bottom)
    return Preparation(three, more, side, fit, four)


def _triple(values: tuple[float, ...]) -> Triple:
    a, b, c = values
    return a, b, c


def _fit(value: object) -> Fit:
    if value == "stretch" or value == "crop":  # noqa: PLR1714
        return value
    raise ValueError("no way to fit that is known")


def _embedder(
    card: Path,
    model: ModelFile,
    detector: ModelFile | None,
    preparation: Preparation,
    given_model: Path | None,
    given_detector: Path | None,
) -> Embedder:
    if given_detector is not None and detector is None:
        raise InputError(
            "this card was made without a detector", where=str(card), fix=f"leave out {option('detector')}"
        )
    found = _find(card, model, given_model, "model")
    looks = None if detector is None else _find(card, detector, given_detector, "detector")
    return open_embedder(found, looks, preparation)


def _find(card: Path, wanted: ModelFile, given: Path | None, name: str) -> Path:
    """The file that a card means. InputError when it is nowhere, or another one has its place."""
    others = []
    for place in [given] if given is not None else list(_places(card, wanted)):
        if given is None and not place.is_file():
            continue
        if model_file(place).sha256 == wanted.sha256:
            return place
        others.append(str(place))
    if others:
        raise InputError(
            f"this is not the model of the card, which means '{wanted.name}'",
            where=f"{others[0]}; the SHA-256 of the card's is {wanted.sha256}",
            fix=f"give the card's with {option(name, 'FILE')}, or make a card with this one",
        )
    raise InputError(
        f"the model of the card, '{wanted.name}', is not found",
        where=f"{card}; the SHA-256 of its model is {wanted.sha256}",
        fix=f"put it beside the card, or give it with {option(name, 'FILE')}",
    )


def _places(card: Path, wanted: ModelFile) -> Iterator[Path]:
    # A name out of a file of somebody else leads into no other folder.
    name = Path(wanted.name.replace("\\", "/")).name
    yield card.parent / name
    yield Path(name)
    known = remembered_place(wanted.sha256)
    if known is not None and is_readable(known):
        yield known
    yield from files_called(name)
