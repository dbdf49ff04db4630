"""Files whose record of how they were made was changed: it is read as a recipe again."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from fuzz.case import Case, Fixture
from fuzz.fixtures import MADE, read
from fuzz.mutate_header import joined, split
from fuzz.mutate_text import mutated
from fuzz.targets import formulas
from fuzz.targets.files import SOUND

NAME = "X.safetensors"
KEY = "loralathe"
WORDS = (
    "null", "true", "[]", "{}", '""', "1e999", "-1", '"A"', '"/etc/passwd"', '"../A.safetensors"',
    "\\u0000", "\\ud800", '"sha256"',
    '"recipe"', '"inputs"', '"steps"', '"version"', ",", ":", "[" * 2000,
)  # fmt: skip
COMMANDS = (
    ("verify", NAME), ("verify", NAME, "--json"), ("run", NAME, "-o", "out.safetensors", "--dry-run"),
    ("run", NAME, "-o", "out.safetensors", "--threads", "1"), ("inspect", NAME), ("inspect", NAME, "--json"),
    ("convert", NAME, "--dtype", "fp16", "-o", "out.safetensors"),
)  # fmt: skip


def record(draw: Random, fixtures: Path) -> Case:
    table, body = split(read(fixtures, MADE))
    metadata = table["__metadata__"]
    text = metadata[KEY]
    words = (*WORDS, *formulas.WORDS)
    text = _changed(text, draw) if draw.random() < 0.4 else mutated(text, words, draw)
    metadata[KEY] = text.encode("utf-8", "replace").decode()
    data = joined(json.dumps(table).encode(), body)
    return Case("records", draw.choice(COMMANDS), SOUND | {NAME: data, MADE: Fixture(MADE)})


def _changed(text: str, draw: Random) -> str:
    """Sound JSON with one value changed, somewhere."""
    root = json.loads(text)
    place = root
    while isinstance(place, (dict, list)) and place:
        key = draw.choice(list(place)) if isinstance(place, dict) else draw.randrange(len(place))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or draw.random() < 0.2:
            odd = (
                None,
                True,
                0,
                -1,
                10**30,
                1.5,
                "",
                "x",
                "../x",
                "A",
                [],
                {},
                [[]],
                {"a": 1},
                "9" * 70,
                "nan",
            )
            place[key] = draw.choice((*odd, mutated(str(inner), formulas.WORDS, draw)))
            break
        place = inner
    return json.dumps(root)
