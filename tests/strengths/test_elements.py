"""--include and --exclude as element rules, on the modules of real LoRAs."""

from __future__ import annotations

import pytest

from checkpoints import manifest
from loralathe.adapters import canonical_of_raw
from loralathe.engine import ModuleAddress
from loralathe.families.sd1 import SD1
from loralathe.strengths import Strength, effective, parse_elements, selection_rules


@pytest.fixture(scope="module")
def modules() -> list[ModuleAddress]:
    raw = {key.split(".")[0] for key in manifest("lora_kohya_sd15_conv")}
    names = [name for item in sorted(raw) if (name := canonical_of_raw(SD1, item))]
    return [ModuleAddress(name, SD1.block_of_module(name)) for name in names]


def chosen(modules, include=(), exclude=()):
    rules = selection_rules(include, exclude)
    strength = Strength(elements=parse_elements(rules, SD1) if rules else ())
    return {module.name for module in modules if effective(strength, module)}


def test_words_are_blocks_or_names():
    assert selection_rules((), ()) is None
    assert selection_rules(["IN04-OUT02, attn2"], []) == "NOT IN04-OUT02:NOT attn2:0"
    assert selection_rules([], ["TE1 ff", "mid"]) == "TE1 mid::0,:ff:0"
    assert selection_rules(["attn"], ["attn1"]) == ":NOT attn:0,:attn1:0"


def test_include_keeps_the_union_and_nothing_else(modules):
    found = chosen(modules, ["IN04 attn2"])
    assert found == {m.name for m in modules if m.block == "IN04" or ".attn2." in m.name}
    assert not [name for name in found if name.startswith("te1")]


def test_exclude_drops_the_union(modules):
    found = chosen(modules, (), ["BASE OUT09-OUT11", "ff"])
    out = {"OUT09", "OUT10", "OUT11"}
    assert found == {
        m.name
        for m in modules
        if not m.name.startswith("te1") and m.block not in out and ".ff." not in m.name
    }


def test_exclude_wins_over_include(modules):
    assert chosen(modules, ["MID"], ["attn1"]) == {
        m.name for m in modules if m.block == "MID" and ".attn1." not in m.name
    }
