"""R, U and X in a block list: values drawn when a picture is rendered, refused in a merge.

A merge is written once and must be reproducible from its recipe, so a random place has no meaning there.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from loralathe.errors import InputError
from loralathe.strengths.text import parse_number

TokenValue = Callable[[str], float]
"""From a token (`R`, `U`, `X`, `X+0.2`) to its value."""

_TOKEN = re.compile(r"R|U|X([+-].*)?", re.IGNORECASE)


def is_token(text: str) -> bool:
    return bool(_TOKEN.fullmatch(text.strip()))


def has_tokens(blocks: str) -> bool:
    """Whether a block list or weights by name hold R, U or X: `1,R,0` or `IN04=X`."""
    entries = blocks.split(",")
    named = [entry.partition("=")[2] for entry in entries]
    return any(map(is_token, named if len(entries) == 1 else [*entries, *named]))


def refuse_tokens(where: str) -> TokenValue:
    """For merges: every token is an error."""

    def refuse(token: str) -> float:
        kind = "takes its value from x=" if token[:1].upper() == "X" else "is drawn at random"
        raise InputError(
            f"'{token}' {kind} when rendering; a merge needs a number in its place",
            where=where,
            fix=f"write a number instead of '{token}', for instance the one a render reported",
        )

    return refuse


def seeded_tokens(seed: int, x: float | None = None) -> TokenValue:
    """For rendering: R is uniform in [0, 1), U in [-0.5, 1.5), to 3 decimals; X is `x`, X+0.2 is x + 0.2.

    Ranges as in LoRA Block Weight; there the generator is unseeded, here the same seed gives the same values.
    """
    generator = random.Random(seed)

    def value_of(token: str) -> float:
        letter, offset = token[:1].upper(), token[1:]
        if letter == "R":
            return round(generator.random(), 3)
        if letter == "U":
            return round(generator.uniform(-0.5, 1.5), 3)
        if x is None:
            raise InputError(f"'{token}' in a block list needs a value", fix="add x=, for instance x=0.5")
        return x + (parse_number(offset, "offset of X", where=token) if offset else 0.0)

    return value_of
