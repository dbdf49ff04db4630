"""Numbers, sizes and names as people type them (SEMANTICS §8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loralathe.errors import InputError
from loralathe.strengths import (
    find_name,
    match_name,
    name_hint,
    number_text,
    parse_number,
    parse_size,
    parse_whole,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.7", 0.7),
        ("+1", 1),
        ("-.5", -0.5),
        ("2.", 2),
        (" 1e-3 ", 0.001),
        ("\u200b0.7\ufeff", 0.7),
        ("-0", 0),
    ],
)
def test_numbers(text: str, value: float) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("1_0", "numbers have no '_': 10"),
        ("０.７", "write it with half-width characters: 0.7"),
        ("−0.7", "write it with half-width characters: -0.7"),
        ("0,7", "a decimal has a point: 0.7"),
        ("70%", "shares are written without a percent sign: 0.7"),
        ("٣", "write one such as 0.7"),
        ("0x10", "write one such as 0.7"),
        ("", "write one such as 0.7"),
        ("inf", "write a finite number such as 0.7"),
        ("NaN", "write a finite number such as 0.7"),
        ("1e999", "write a finite number such as 0.7"),
    ],
)
def test_what_is_no_number(text: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_number(text, "strength")
    assert caught.value.fix == fix
    with pytest.raises(InputError):
        parse_whole(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back(value: float) -> None:
    assert parse_number(number_text(value)) == value


def test_whole_numbers() -> None:
    assert (parse_whole("20"), parse_whole("\u200e-1")) == (20, -1)
    for text in ("0.5", "1e3", "9" * 5000):
        with pytest.raises(InputError, match="not a whole number"):
            parse_whole(text)


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("100MB", 100_000_000), ("100 MiB", 100 << 20), ("1.5gb", 1_500_000_000), ("2GiB", 2 << 30),
     ("3K", 3000), ("3KiB", 3072), ("4096", 4096), ("12 B", 12), ("1M", 1_000_000), ("1TB", 10**12)],
)  # fmt: skip
def test_sizes(text: str, nbytes: int) -> None:
    assert parse_size(text) == nbytes


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1_000", "0.4B", "1iB", "1e3MB", "１MB", "many"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError):
        parse_size(text)


def test_names() -> None:
    known = ("OUTALL", "Face", "face", "OUTD")
    assert match_name("Face", known) == "Face"
    assert match_name("outall\u200b", known) == "OUTALL"
    assert match_name("FACE", known) is None
    assert "differ in case alone" in name_hint("FACE", known)
    with pytest.raises(InputError) as caught:
        find_name("OUTALLL", known, "preset")
    assert str(caught.value).startswith("there is no preset 'OUTALLL'\n  fix:   did you mean 'OUTALL'")
