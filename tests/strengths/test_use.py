"""One adapter in use: items in any order, every spelling read back, no text that breaks the reader."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loralathe.errors import InputError
from loralathe.language import make_recipe
from loralathe.language.checker import TypeChecker
from loralathe.strengths import (
    AdapterUse,
    Strength,
    argument_text,
    parse_block_weights,
    parse_elements,
    read_argument,
    read_tag,
    resolve,
    tag_text,
    term_text,
)
from strengths.families_for_tests import SDXL


def none_exists(_: Path) -> bool:
    return False


def test_items_in_every_order() -> None:
    items = ("0.7", "te=0.2", "lbw=1,0,1", "lbwe=IN05-OUT05:attn:0,MID::0.5", "unet=-1.5")
    expected = AdapterUse(
        Path("hina.safetensors"), 0.2, -1.5, "1,0,1", "IN05-OUT05:attn:0,MID::0.5"
    )  # fmt: skip
    for order in permutations(items):
        assert read_argument(":".join(("hina.safetensors", *order)), none_exists) == expected


@pytest.mark.parametrize(
    ("item", "blocks"),
    [
        ("HinaBlock", "HinaBlock"),
        ("1,0,0,0.3", "1,0,0,0.3"),
        ("IN04=0.3,OUT00=1", "IN04=0.3,OUT00=1"),
        ("IN04=0.3", "IN04=0.3"),
        ("*=0", "*=0"),
        ("m00=0", "m00=0"),
        ("lbw=IN04=0.3", "IN04=0.3"),
        ("LBW=ALL", "ALL"),
    ],
)
def test_what_is_taken_for_blocks(item: str, blocks: str) -> None:
    spec = read_argument(f"hina:{item}", none_exists)
    assert (spec.blocks, spec.te, spec.unet) == (blocks, 1.0, 1.0)


def test_the_real_file_system_decides(tmp_path: Path) -> None:
    (tmp_path / "hina:0.7").touch()
    (tmp_path / "folder").mkdir()
    assert read_argument(f"{tmp_path}/hina:0.7").path == tmp_path / "hina:0.7"
    assert read_argument(f"{tmp_path}/hina:0.7:0.5") == AdapterUse(tmp_path / "hina:0.7", 0.5, 0.5)
    assert read_argument(f"{tmp_path}/hina:0.8") == AdapterUse(tmp_path / "hina", 0.8, 0.8)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive(te: float, unet: float) -> None:
    spec = read_argument(f"a:te={te!r}:unet={unet!r}", none_exists)
    assert (spec.te, spec.unet) == (te, unet)


numbers = st.floats(-4, 4) | st.floats(-1e38, 1e38)
uses = st.builds(
    AdapterUse,
    file=st.sampled_from(["hina.safetensors", "my loras/hina v2", "雛（二）", "C:\\loras\\hina.safetensors"]),
    te=numbers,
    unet=numbers,
    blocks=st.none() | st.sampled_from(["ALL", "OUTS", "1,0,0.5,1,1,1,1,1,1,1,1,1", "IN04=0.3,*=0", "m00=1"]),
    elements=st.none()
    | st.sampled_from(["ATTNDEEPON", "IN05-OUT05:attn:0", "NOT BASE:to_v ff:0.5,::1", ":NOT attn:-2e-3"]),
)
steps = st.none() | st.integers(0, 10**6)


@given(uses)
def test_arguments_read_back(use: AdapterUse) -> None:
    assert read_argument(argument_text(use), none_exists) == use


@given(uses, steps, steps, st.none() | numbers)
def test_tags_read_back(use: AdapterUse, start: int | None, stop: int | None, x: float | None) -> None:
    named = replace(use, file=use.file.removeprefix("C:"), start=start, stop=stop, x=x)
    assert read_tag(tag_text(named).removeprefix("<lora:").removesuffix(">")) == named


@given(uses)
def test_terms_read_back(use: AdapterUse) -> None:
    """What the language makes of a term is the strength that the use has."""
    recipe = make_recipe(
        inputs={"A": Path("a"), "hina": Path("b")}, steps={"merged": "A" + term_text("hina", use)}
    )
    checker = TypeChecker(
        recipe,
        {"A": "checkpoint", "hina": "adapter"},
        lambda text: parse_block_weights(text, SDXL),
        lambda text: parse_elements(text, SDXL),
        lambda: SDXL,
    )
    assert checker.step("merged").terms[1].strength == resolve(use, SDXL)


pieces = st.sampled_from(
    ["hina", ".safetensors", ":", ",", "=", "0.7", "-", "IN05", "OUT05", "te", "lbw", "lbwe", "NOT ", "*",
     "R", "X+", "attn", "nan", "1e999", "C", "\\", "/", " ", "\n", "٣", "½", "M00", "BASE",
     "TE1", "1,0,1,1,1,1,1,1,1,1,1,1"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=40), st.lists(pieces, max_size=14).map("".join)))
def test_any_text_is_a_strength_or_an_input_error(text: str) -> None:
    try:
        strength = resolve(read_argument(text, none_exists), SDXL)
    except InputError as error:
        assert error.what  # noqa: PT017
    else:
        assert isinstance(strength, Strength)


JOINED = {
    "hina:0.7,sailor:0.4": ["hina:0.7", "sailor:0.4"],
    "hina.safetensors，sailor.safetensors": ["hina.safetensors", "sailor.safetensors"],
    "a.safetensors:0.7:1,0,0.3, b:1:OUTALL": ["a.safetensors:0.7:1,0,0.3", "b:1:OUTALL"],
}


@pytest.mark.parametrize("text", JOINED)
def test_adapters_joined_by_a_comma_are_told_apart(text: str) -> None:
    with pytest.raises(InputError, match="several adapters are joined by a comma") as refused:
        read_argument(text, none_exists)
    assert refused.value.instead == {text: JOINED[text]}
    assert str(refused.value.fix) == f"write them apart: {' '.join(JOINED[text])}"


@pytest.mark.parametrize(
    "items", ["1,0,0,0.3:te=0.5", "IN04=0.3,OUT00=1:0.5", "lbwe=IN05:attn:0,OUT03:ff:0.5"]
)
def test_lists_and_rules_are_no_further_adapters(items: str) -> None:
    assert read_argument(f"hina.safetensors:{items}", none_exists).path == Path("hina.safetensors")
