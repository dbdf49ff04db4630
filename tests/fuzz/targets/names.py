"""What strangers write into files: names in every output, recipes from records, configurations of PEFT."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from fuzz.case import Case, Fifo, Fixture, Folder, Link, Thing
from fuzz.fixtures import MADE, read
from fuzz.mutate_header import joined, split
from fuzz.mutate_text import mutated
from fuzz.targets import records
from fuzz.targets.commands import ON_AN_ADAPTER, about
from fuzz.targets.files import NAME, SOUND

FORGED = (
    "\nlathe: error: all is well", "\r\nlathe: note: x", "\x1b[2J", "\x1b]0;x\x07", "\x9b31m", "\x7f",
    "\u202e", "\u2066", "\u200b", "\u2028", "<script>", "</script>", "&amp;", "'; touch x; '", "$(touch x)",
    "`id`", "{0}", "%s", "[bold]", "[/]", "é" * 40, "\ufeff",
)  # fmt: skip


def _strange(text: str, draw: Random) -> str:
    at = draw.randint(0, len(text))
    return text[:at] + draw.choice(FORGED) + text[at:]


def output(draw: Random, fixtures: Path) -> Case:
    """File names, tensor names, metadata and titles that would like to be more than text."""
    stem = _strange("x", draw).replace("/", "").replace("\0", "")
    lora = f"{stem}.safetensors"
    table, body = split(read(fixtures, "lora.safetensors"))
    renamed = draw.choice(("", draw.choice(sorted(set(table) - {"__metadata__"}))))
    share = draw.choice((0.0, 0.0, 0.01, 0.3))
    named = {
        _strange(key, draw)
        if key == renamed or (key != "__metadata__" and draw.random() < share)
        else key: value
        for key, value in table.items()
    }
    notes = {"ss_output_name": _strange("hina", draw), _strange("note", draw): _strange("a", draw)}
    named["__metadata__"] = {**table.get("__metadata__", {}), **notes}
    words = draw.choice((
        ("inspect", lora), ("inspect", lora, "--norms"), ("compare", lora, "lora.safetensors"),
        ("merge", "A.safetensors", lora, "-o", "out.safetensors"),
        ("merge", "A.safetensors", lora, "--dry-run"),
        ("merge", "A.safetensors", lora, "--allow-unmatched", "-o", "out.safetensors"),
        ("combine", lora, "lora.safetensors", "-o", "out.safetensors"),
        ("resize", lora, "--rank", "1", "-o", "out.safetensors"), ("verify", lora), ("run", lora),
        ("grid", "A.safetensors", lora, "--x", "seed = 1, 2", "--prompt", stem, "--title", stem, "--dry-run"),
        ("eval", f"A + {stem}", "A=A.safetensors", f"x={lora}", "--dry-run"),
    ))  # fmt: skip
    words += draw.choice(((), ("--json",), ("--lang", "zh-TW")))
    return Case("names in every output", words, SOUND | {lora: joined(json.dumps(named).encode(), body)})


def written_recipe(draw: Random, fixtures: Path) -> Case:
    """`--write-recipe` of a stranger's record, to where it belongs and to where it does not."""
    case = records.record(draw, fixtures)
    places: dict[str, Thing] = {
        "link.toml": Link("A.safetensors"),
        "folder.toml": Folder(),
        "pipe.toml": Fifo(),
    }
    target = draw.choice(("w.toml", "w.toml", "sub/w.toml", NAME, "A.safetensors", "old.toml", *places))
    files = {**case.files, **places, "old.toml": b"old", MADE: Fixture(MADE)}
    words = ("run", NAME, "--write-recipe", target, *draw.choice(((), ("--force",), ("--dry-run",))))
    return Case("written recipes", words, files, may_change=("old.toml",))


CONFIG = {
    "peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_rslora": False, "use_dora": False, "bias": "none",
    "rank_pattern": {"to_q": 1}, "alpha_pattern": {".*to_k": 8, "^attn1": 3.5},
    "target_modules": ["to_q", "to_k"],
}  # fmt: skip
ADAPTER = "adapter_model.safetensors"
WORDS = (
    '"r"', '"LORA"', '"LOHA"', '"alpha_pattern"', ":", ",", "{", "}", "[", "]", "null", "true", "1e999", "-1",
    "NaN", '"(a+)+$"', '"' + "(.*)*" * 9 + '"', "9" * 400, "[" * 3000, '{"a": ' * 500,
)  # fmt: skip


def peft_config(draw: Random, fixtures: Path) -> Case:
    config = dict(CONFIG)
    for key in draw.sample(sorted(config), draw.choice((0, 1, 2))):
        odd = (
            None,
            True,
            0,
            -1,
            1e300,
            "x",
            "",
            [],
            {},
            {"a": "b"},
            {"": 0},
            {"(a+)+$": 2},
            {"[": 1},
            "LOKR",
        )
        config[key] = draw.choice(odd)
    text = mutated(json.dumps(config), WORDS, draw) if draw.random() < 0.6 else json.dumps(config)
    files: dict[str, Thing] = {ADAPTER: read(fixtures, "peft.safetensors")}
    files["adapter_config.json"] = text.encode("utf-8", "surrogateescape")
    return Case("PEFT configs", about(ADAPTER, ON_AN_ADAPTER, draw), SOUND | files)
