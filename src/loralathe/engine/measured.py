"""What pictures told of a file: likeness, bleed and the like with their intervals, beside its record.

One entry of the metadata, `loralathe.measured`, a JSON object. It says of which recipe the numbers are: `of`
is a hash over the formulas with each input's SHA-256 in the place of its name. So numbers hold for a file
whose own record has the same hash, and for no other: whoever changes a strength makes another recipe.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256

from loralathe.errors import whole

ENTRY = "loralathe.measured"
VERSION = 1
MOST_NUMBERS, MOST_PROMPTS, LONGEST = 16, 64, 2000
"""Of what is read out of a file that may come from anybody; the last one in characters of a text."""
LARGEST = 1 << 64
_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class MeasuredNumber:
    """A mean over pictures. up: whether more is better;  low, high: its 95 % interval, None of one picture.

    pictures: those that it is the mean of.
    """

    name: str
    up: bool
    mean: float
    low: float | None
    high: float | None
    pictures: int


@dataclass(frozen=True)
class Measured:
    """What was measured, by what, on which pictures.

    by:    the command that drew and measured, such as `tune`.
    card:  name of the identity card's file, and its SHA-256; both "" where scorers alone told.
    seeds: the first and the last;  prompts: they took turns.
    base:  the checkpoint that the pictures were drawn with, "" where that is the file itself.
    strength: of a LoRA in them.  of: see `recipe_hash`.
    """

    by: str
    card: str
    card_sha256: str
    numbers: tuple[MeasuredNumber, ...]
    seeds: tuple[int, int]
    prompts: tuple[str, ...]
    base: str
    strength: float | None
    of: str

    def text(self) -> str:
        """The entry."""
        return whole(json.dumps(self.facts(), ensure_ascii=False, separators=(",", ":")))

    def facts(self) -> dict[str, object]:
        return {"version": VERSION, **asdict(self)}


def recipe_hash(record: Mapping[str, object]) -> str | None:
    """SHA-256 over what a record says of the numbers in a file: formulas, variables, block lists, a VAE.

    Names of inputs, and that of a single step, do not count: `A + 0.7*hina` is the same under others. None
    where the record has no hash of an input.
    """
    inputs, steps = _table(record, "inputs"), _table(record, "steps")
    digests = {name: entry.get("sha256") for name, entry in inputs.items() if isinstance(entry, dict)}

    def named(found: re.Match[str]) -> str:
        return f"<{digests[found[0]]}>" if found[0] in digests else found[0]

    if not steps or not all(isinstance(one, str) and len(one) == 64 for one in digests.values()):
        return None
    formulas = {name: _NAME.sub(named, str(text)) for name, text in steps.items()}
    vae = _table(record, "options").get("vae")
    said = {
        "steps": list(formulas.values()) if len(formulas) == 1 else formulas,
        "variables": _table(record, "variables"),
        "blocks": _table(record, "blocks"),
        "vae": digests.get(vae) if isinstance(vae, str) else None,
    }
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _table(record: Mapping[str, object], name: str) -> dict[str, object]:
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def read_measured(metadata: Mapping[str, str]) -> Measured | None:
    """The entry of a file; None when it has none, or one that nobody can read."""
    text = metadata.get(ENTRY, "")
    if not text or len(text) > MOST_PROMPTS * LONGEST:
        return None
    try:
        return parse_measured(json.loads(text))
    except (ValueError, RecursionError):
        return None


def parse_measured(data: object) -> Measured:
    """From plain data of unknown origin; ValueError for anything that `facts` would not give."""
    try:
        return _parse(data)
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError("no such entry") from error


def _parse(data: object) -> Measured:
    if not isinstance(data, dict) or data["version"] != VERSION:
        raise ValueError("another version")
    numbers, prompts, (first, last) = _listed(data["numbers"]), _listed(data["prompts"]), data["seeds"]
    if not (0 < len(numbers) <= MOST_NUMBERS and len(prompts) <= MOST_PROMPTS):
        raise ValueError("too many")
    return Measured(
        by=_text(data["by"]),
        card=_text(data["card"]),
        card_sha256=_text(data["card_sha256"]),
        numbers=tuple(map(_read_number, numbers)),
        seeds=(_count(first), _count(last)),
        prompts=tuple(map(_text, prompts)),
        base=_text(data["base"]),
        strength=None if data["strength"] is None else _real(data["strength"]),
        of=_text(data["of"]),
    )


def _read_number(data: object) -> MeasuredNumber:
    if not isinstance(data, dict) or not isinstance(data["up"], bool):
        raise TypeError("no number")
    low, high = (None if data[end] is None else _real(data[end]) for end in ("low", "high"))
    return MeasuredNumber(
        _text(data["name"]), data["up"], _real(data["mean"]), low, high, _count(data["pictures"])
    )


def _listed(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST:
        raise TypeError("not a short text")
    return value


def _real(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError("not a number")
    return float(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < LARGEST:
        raise TypeError("not a count")
    return value
