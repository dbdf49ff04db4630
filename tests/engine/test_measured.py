"""What pictures told of a file: bound to its recipe, read with suspicion."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from loralathe.engine import Measured, MeasuredNumber, parse_measured, read_measured, recipe_hash
from loralathe.engine.measured import ENTRY

MEASURED = Measured(
    by="tune",
    card="hina.card",
    card_sha256="c" * 64,
    numbers=(
        MeasuredNumber("likeness", True, 0.98, 0.96, 1.0, 12),
        MeasuredNumber("bleed", False, 0.1, None, None, 1),
    ),
    seeds=(17, 28),
    prompts=("hina, smiling",),
    base="baseA.safetensors",
    strength=0.9,
    of="d" * 64,
)
RECORD = {
    "version": "0.2",
    "save": "merged",
    "inputs": {"A": {"file": "a", "sha256": "a" * 64}, "hina": {"file": "b", "sha256": "b" * 64}},
    "steps": {"merged": "A + 0.7*hina@Face"},
    "blocks": {"Face": "IN04=0.3"},
}


def test_what_is_written_is_read():
    assert read_measured({ENTRY: MEASURED.text()}) == MEASURED
    assert read_measured({}) is None


def renamed() -> dict[str, object]:
    inputs = {"baseA": RECORD["inputs"]["A"], "h": RECORD["inputs"]["hina"]}
    return RECORD | {"save": "x", "inputs": inputs, "steps": {"x": "baseA + 0.7*h@Face"}}


def test_names_of_inputs_and_of_the_step_do_not_count():
    assert recipe_hash(renamed()) == recipe_hash(RECORD)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": {"merged": "A + 0.8*hina@Face"}},
        {"blocks": {"Face": "IN04=0.4"}},
        {"variables": {"M": 1.0}},
        {"inputs": RECORD["inputs"] | {"hina": {"file": "b", "sha256": "e" * 64}}},
        {"steps": {"one": "A", "merged": "one + 0.7*hina@Face"}},
    ],
)
def test_all_that_decides_the_numbers_counts(change: dict[str, object]):
    assert recipe_hash(RECORD | change) not in (None, recipe_hash(RECORD))


def test_a_vae_counts():
    inputs = RECORD["inputs"] | {"vae": {"file": "v", "sha256": "f" * 64}}
    baked = RECORD | {"inputs": inputs, "options": {"vae": "vae"}}
    assert recipe_hash(baked) != recipe_hash(RECORD)


def test_without_a_hash_of_each_input_there_is_none():
    for entry in ({"file": "b"}, {"file": "b", "sha256": "in memory"}, {"file": "b", "sha256": 5}):
        assert recipe_hash(RECORD | {"inputs": RECORD["inputs"] | {"hina": entry}}) is None
    for damaged in ({}, {"steps": 5, "inputs": 5}, {"steps": {"a": 5}, "inputs": {"a": 5}}):
        recipe_hash(damaged)


FACTS = json.loads(MEASURED.text())
NUMBER = FACTS["numbers"][0]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"numbers": []},
        {"numbers": [NUMBER] * 17},
        {"numbers": [NUMBER | {"mean": float("nan")}]},
        {"numbers": [NUMBER | {"mean": True}]},
        {"numbers": [NUMBER | {"pictures": -1}]},
        {"numbers": [NUMBER | {"pictures": 1 << 70}]},
        {"numbers": [NUMBER | {"up": "yes"}]},
        {"numbers": [5]},
        {"seeds": [1]},
        {"seeds": ["1", 2]},
        {"prompts": "hina"},
        {"prompts": ["x" * 2001]},
        {"prompts": ["x"] * 65},
        {"strength": "1"},
        {"card": None},
        {"of": 5},
    ],
)
def test_an_entry_that_lathe_does_not_write_is_none(change: dict[str, object]):
    with pytest.raises(ValueError):
        parse_measured(FACTS | change)
    assert read_measured({ENTRY: json.dumps(FACTS | change)}) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", "[" * 100_000, "{}"])
def test_what_is_no_entry_is_none(text: str):
    assert read_measured({ENTRY: text}) is None


def test_half_characters_of_a_name_are_spelt():
    name = replace(MEASURED, card="\udcff.card")
    assert name.text().encode()
