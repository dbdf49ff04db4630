"""Identity cards: a card is a stranger's file, which names models and holds the numbers they gave."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from random import Random

from fuzz.case import Case
from fuzz.mutate_bytes import harmed
from fuzz.mutate_header import joined, with_a_lie
from fuzz.mutate_text import mutated

NAME, MODEL, PICTURE = "X.card", "judge.onnx", "x.png"
MODEL_BYTES = b"\x08\x08\x12\x04lora" * 8
WORDS = (
    "null", "true", "[]", "{}", '""', "1e999", "-1", "NaN", '"/etc/passwd"', '"../judge.onnx"', '"face"',
    '"portrait"',
    '"picture"', "\\u0000", "\\ud800", '"model"', '"sha256"', '"references"', ",", ":", "[" * 2000,
)  # fmt: skip
COMMANDS = (
    ("identity", "check", NAME, PICTURE),
    ("identity", "check", NAME, PICTURE, "--json"),
    ("identity", "check", NAME, PICTURE, "--model", MODEL),
    ("inspect", NAME),
    ("tune", "A.safetensors", "--sweep", "cfg = 4, 7", "--prompt", "x", "--card", NAME, "--dry-run"),
)


def card(draw: Random, fixtures: Path) -> Case:
    about = {
        "version": 1,
        "kind": draw.choice(("face", "picture", "portrait")),
        "model": {"name": MODEL, "sha256": hashlib.sha256(MODEL_BYTES).hexdigest()},
        "detector": None,
        "preparation": {
            "mean": [127.5] * 3, "std": [127.5] * 3, "box": [0, 0, 1, 1], "side": 112, "fit": "stretch",
        },
        "references": ["a.png", "b.png", "c.png"],
        "threshold": 0.5,
        "trigger": "hina",
    }  # fmt: skip
    text = json.dumps(about)
    if draw.random() < 0.6:
        text = mutated(text, WORDS, draw).encode("utf-8", "replace").decode()
    table = {
        "__metadata__": {"lathe_identity_card": text},
        "references": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]},
    }
    data = joined(json.dumps(table).encode(), struct.pack("<12f", *[0.5] * 12))
    if draw.random() < 0.3:
        data = draw.choice((harmed, with_a_lie))(data, draw)
    files = {NAME: data, MODEL: MODEL_BYTES, PICTURE: b"\x89PNG\r\n\x1a\n"}
    return Case("identity cards", draw.choice(COMMANDS), files)
