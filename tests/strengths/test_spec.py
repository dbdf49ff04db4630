"""Adapter arguments: order never matters, and no text whatever gives anything but a spec or an InputError."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loralathe.errors import InputError
from loralathe.strengths.spec import AdapterSpec, parse_spec
from loralathe.strengths.strength import Strength, resolve
from strengths.families_for_tests import SDXL


def none_exists(_: Path) -> bool:
    return False


def test_items_in_every_order() -> None:
    items = ("0.7", "te=0.2", "lbw=1,0,1", "lbwe=IN05-OUT05:attn:0,MID::0.5", "unet=-1.5")
    expected = AdapterSpec(
        Path("hina.safetensors"), 0.2, -1.5, "1,0,1", "IN05-OUT05:attn:0,MID::0.5"
    )  # fmt: skip
    for order in permutations(items):
        assert parse_spec(":".join(("hina.safetensors", *order)), none_exists) == expected


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
    spec = parse_spec(f"hina:{item}", none_exists)
    assert (spec.blocks, spec.te, spec.unet) == (blocks, 1.0, 1.0)


def test_the_real_file_system_decides(tmp_path: Path) -> None:
    (tmp_path / "hina:0.7").touch()
    (tmp_path / "folder").mkdir()
    assert parse_spec(f"{tmp_path}/hina:0.7").path == tmp_path / "hina:0.7"
    assert parse_spec(f"{tmp_path}/hina:0.7:0.5") == AdapterSpec(tmp_path / "hina:0.7", 0.5, 0.5)
    assert parse_spec(f"{tmp_path}/hina:0.8") == AdapterSpec(tmp_path / "hina", 0.8, 0.8)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive(te: float, unet: float) -> None:
    spec = parse_spec(f"a:te={te!r}:unet={unet!r}", none_exists)
    assert (spec.te, spec.unet) == (te, unet)


pieces = st.sampled_from(
    ["hina", ".safetensors", ":", ",", "=", "0.7", "-", "IN05", "OUT05", "te", "lbw", "lbwe", "NOT ", "*",
     "R", "X+", "attn", "nan", "1e999", "C", "\\", "/", " ", "\n", "٣", "½", "M00", "BASE",
     "TE1", "1,0,1,1,1,1,1,1,1,1,1,1"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=40), st.lists(pieces, max_size=14).map("".join)))
def test_any_text_is_a_strength_or_an_input_error(text: str) -> None:
    try:
        strength = resolve(parse_spec(text, none_exists), SDXL)
    except InputError as error:
        assert error.what  # noqa: PT017
    else:
        assert isinstance(strength, Strength)
