"""Canonical texts, coverage and tokens of block weights, beyond the contract's table."""

from __future__ import annotations

import pickle
from collections import ChainMap
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loralathe.errors import InputError
from loralathe.strengths import (
    BlockWeights,
    Strength,
    builtin_names,
    check_blocks,
    parse_block_weights,
    parse_elements,
    seeded_tokens,
)
from strengths.families_for_tests import FLUX, SD1, SDXL, Family


@dataclass(frozen=True)
class Layer:
    name: str
    block: str | None


finite = st.floats(allow_nan=False, allow_infinity=False)
families = st.sampled_from([SD1, SDXL])


@given(family=families, data=st.data())
def test_canonical_text_parses_back(family: Family, data: st.DataObject) -> None:
    length = data.draw(st.sampled_from([len(family.short_blocks), len(family.long_blocks), 26]))
    values = data.draw(st.lists(finite, min_size=length, max_size=length))
    parsed = parse_block_weights(",".join(map(repr, values)), family)
    assert parse_block_weights(str(parsed), family) == parsed
    assert str(parse_block_weights(str(parsed), family)) == str(parsed)


@given(family=families, data=st.data())
def test_by_name_gives_what_is_named_and_rest_elsewhere(family: Family, data: st.DataObject) -> None:
    named = data.draw(st.dictionaries(st.sampled_from(family.long_blocks), finite, min_size=1))
    rest = data.draw(finite)
    parsed = parse_block_weights(",".join([*(f"{k}={v!r}" for k, v in named.items()), f"*={rest!r}"]), family)
    for block in family.long_blocks:
        assert parsed.weight_of("unet.x" if block != "BASE" else "te1.x", block) == named.get(block, rest)


@pytest.mark.parametrize("family", [SD1, SDXL, FLUX], ids=lambda family: family.id)
def test_builtins_cover_every_block(family: Family) -> None:
    for name in builtin_names(family):
        weights = parse_block_weights(name, family)
        assert all(weights.covers("unet.x", block) for block in family.long_blocks)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("out00=1,in04=.30", "IN04=0.3,OUT00=1"),
        ("*=0,M00=1e0", "MID=1,*=0"),
        ("TE2=-0.0,TE1=1", "TE1=1,TE2=0"),
        ("*=1", "*=1"),
        ("*=error,IN04=2", "IN04=2,*=error"),
        ("1,0,0,0,0,0,0,0,0,0,0,.5",
         "BASE=1,IN04=0,IN05=0,IN07=0,IN08=0,MID=0,OUT00=0,OUT01=0,OUT02=0,OUT03=0,OUT04=0,OUT05=0.5,*=error"),
    ],
)  # fmt: skip
def test_canonical_text(text: str, canonical: str) -> None:
    assert str(parse_block_weights(text, SDXL)) == canonical


def test_places_that_the_family_lacks_are_reported() -> None:
    weights = parse_block_weights(",".join(["1"] * 26), SDXL)
    assert weights.unused == ("IN09", "IN10", "IN11", "OUT09", "OUT10", "OUT11")
    assert weights == parse_block_weights(",".join(["1"] * 20), SDXL)
    assert parse_block_weights(",".join(["1"] * 26), SD1).unused == ()


def test_wide_list_is_no_list_of_flux() -> None:
    with pytest.raises(InputError, match="a list of 26 block weights does not fit Flux"):
        parse_block_weights(",".join(["1"] * 26), FLUX)


def test_sources_of_presets_are_asked_in_order() -> None:
    person, file = {"A": "IN04=1"}, {"A": "IN04=2", "INS": "IN04=3"}
    sources = ChainMap(person, file)
    assert str(parse_block_weights("A", SDXL, sources)) == "IN04=1"
    assert str(parse_block_weights("INS", SDXL, sources)) == "IN04=3"
    assert str(parse_block_weights("INS", SDXL, person)).startswith("BASE=1,IN00=1")


def test_missing_blocks_are_counted_by_block() -> None:
    weights = parse_block_weights(",".join(["1"] * 12), SDXL)
    modules = [
        Layer("unet.input_blocks.6.0.op", "IN06"),
        *(Layer(f"unet.output_blocks.8.0.{leaf}", "OUT08") for leaf in ("in_layers.2", "out_layers.3")),
        Layer("unet.time_embed.0", None),
        Layer("te1.x", "BASE"),
    ]
    with pytest.raises(InputError) as caught:
        check_blocks(Strength(blocks=weights), modules)
    assert str(caught.value) == (
        "3 modules are in blocks that the block list lacks\n"
        "  where: IN06 1, OUT08 2\n"
        "  fix:   use the long list, or missing_blocks=0 (as LoRA Block Weight) or 1 (as kohya)"
    )
    check_blocks(Strength(blocks=weights.with_missing(0.0)), modules)
    check_blocks(Strength(blocks=weights), modules[3:])


def test_an_element_rule_settles_a_missing_block() -> None:
    weights = parse_block_weights(",".join(["1"] * 12), SDXL)
    strength = Strength(blocks=weights, elements=parse_elements("IN06::0.5", SDXL))
    check_blocks(strength, [Layer("unet.input_blocks.6.0.op", "IN06")])


def test_elements_that_no_layer_has_are_refused() -> None:
    for text in ("IN04:atn2:0", ":NOT attn.atn2:0", ":ff.nett:1"):
        with pytest.raises(InputError, match=r"no layer has '(atn2|nett)' in its name"):
            parse_elements(text, SDXL)
    assert parse_elements("IN04:FF.net.0 attn1_to_q:0,:bias:1", SDXL)


def test_block_weights_attach_once() -> None:
    weights = BlockWeights((("IN04", 0.5),), rest=1.0)
    with pytest.raises(InputError, match="block weights are attached twice"):
        Strength().at(weights).at(weights)


def test_strengths_travel_between_processes() -> None:
    strength = Strength(0.5, 0.7, parse_block_weights("OUTS", SD1), parse_elements("IN04:attn:0", SD1))
    assert pickle.loads(pickle.dumps(strength)) == strength
    assert hash(pickle.loads(pickle.dumps(strength))) == hash(strength)


def test_tokens_come_from_the_seed() -> None:
    text = "IN04=R,IN05=U,IN07=X,IN08=X-0.25,OUT00=R"
    first = parse_block_weights(text, SDXL, tokens=seeded_tokens(7, x=0.5))
    again = parse_block_weights(text, SDXL, tokens=seeded_tokens(7, x=0.5))
    other = parse_block_weights(text, SDXL, tokens=seeded_tokens(8, x=0.5))
    values = dict(first.weights)
    assert first == again != other
    assert (values["IN07"], values["IN08"]) == (0.5, 0.25)
    assert 0 <= values["IN04"] < 1
    assert -0.5 <= values["IN05"] < 1.5
    assert values["IN04"] != values["OUT00"]


def test_x_needs_a_value() -> None:
    with pytest.raises(InputError) as caught:
        parse_block_weights("IN04=X", SDXL, tokens=seeded_tokens(7))
    assert str(caught.value) == "'X' in a block list needs a value\n  fix:   add x=, for instance x=0.5"


def test_canonical_text_of_rules_parses_back() -> None:
    rules = parse_elements("MID-IN07:attn2.to_k ff:.5,NOT te1:NOT proj:-1\n::0", SDXL)
    canonical = ",".join(map(str, rules))
    assert canonical == "IN07 IN08 MID:attn2.to_k ff:0.5,NOT TE1:NOT proj:-1,::0"
    assert parse_elements(canonical, SDXL) == rules


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("1 0 0.5", "weights are separated by commas: 1,0,0.5"),
        ("1，0，0.5", "write it with half-width characters: 1,0,0.5"),
        ("1,0，0.5", "write it with half-width characters: 1,0,0.5"),
        ("IN04=１", "write it with half-width characters: 1"),
        ("70%", "shares are written without a percent sign: 0.7"),
    ],
)
def test_lists_typed_another_way(text: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_block_weights(text, SDXL)
    assert caught.value.fix == fix


def test_another_familys_list_is_shown_by_block_names() -> None:
    """A list of 17 on SDXL: which value belongs to which block, and which blocks it says nothing of."""
    listed = ",".join(f"0.{place:02}" for place in range(17))
    with pytest.raises(InputError) as refused:
        parse_block_weights(listed, SDXL)
    named = str(refused.value.fix).split('"')[1]
    assert named.startswith("BASE=0.00,IN01=0.01,IN02=0.02,IN04=0.03,")
    assert named.endswith(",OUT08=0.13")
    assert "(SDXL has no OUT09…OUT11; IN00 IN03 IN06 OUT00…OUT02 weigh 1)" in str(refused.value.fix)
    weights = parse_block_weights(named, SDXL)
    assert (weights.weight_of("unet.x", "OUT03"), weights.weight_of("unet.x", "OUT00")) == (0.08, 1)
