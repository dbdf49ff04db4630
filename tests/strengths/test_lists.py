"""A1111's value grammar: its examples where it is right, the plain meaning where it is not."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loralathe.errors import InputError
from loralathe.strengths import (
    decimal_comma_note,
    parse_floats,
    parse_ints,
    parse_texts,
    show_number,
    split_items,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1-5", (1, 2, 3, 4, 5)),
        ("1-10 (+2)", (1, 3, 5, 7, 9)),
        ("10-1 (-3)", (10, 7, 4, 1)),
        ("5-1 (-1)", (5, 4, 3, 2, 1)),
        ("5-1", (5, 4, 3, 2, 1)),
        ("1-10 [5]", (1, 3, 5, 7, 10)),
        ("-5--3", (-5, -4, -3)),
        ("1..3, 8", (1, 2, 3, 8)),
        ("-1", (-1,)),
        ("7-7", (7,)),
        ("1, ,2,", (1, 2)),
        ("1\n2", (1, 2)),
    ],
)
def test_whole_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert parse_ints(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0, 0.3, 0.5, 0.7, 0.9, 1", (0, 0.3, 0.5, 0.7, 0.9, 1)),
        ("0.1-0.5 (+0.1)", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("0-1 (+0.3)", (0, 0.3, 0.6, 0.9)),
        ("1-1.3 (+0.1)", (1, 1.1, 1.2, 1.3)),
        ("1-0 (-0.25)", (1, 0.75, 0.5, 0.25, 0)),
        ("-0.7..0.7 (+0.35)", (-0.7, -0.35, 0, 0.35, 0.7)),
        ("-5--3", (-5, -4, -3)),
        ("1-10 [5]", (1, 3.25, 5.5, 7.75, 10)),
        (".5..1 (+.25)", (0.5, 0.75, 1)),
        ("0-1 [1]", (0,)),
        ("1e-3, 2.5E1", (0.001, 25)),
        ("0..1(0.5)", (0, 0.5, 1)),
    ],
)
def test_decimals(text: str, expected: tuple[float, ...]) -> None:
    assert parse_floats(text) == expected


@given(
    first=st.integers(-500, 500),
    steps=st.integers(0, 60),
    step=st.integers(-40, 40).filter(bool),
    places=st.integers(0, 4),
)
def test_ranges_hold_exactly_the_decimals_typed(first: int, steps: int, step: int, places: int) -> None:
    unit = Decimal(1).scaleb(-places)
    a, b, s = first * unit, (first + steps * step) * unit, step * unit
    expected = tuple(float(a + k * s) for k in range(steps + 1))
    assert parse_floats(f"{a:f}..{b:f} ({s:+f})") == expected
    assert parse_floats(f"{a:f} - {b:f} ({s:+f})") == expected


@pytest.mark.parametrize(
    ("text", "caret"),
    [
        ("0, 0.3, x", 8),
        ("0.1-0.5", 0),
        ("1, 1-5 (-1)", 3),
        ("0-1 (+0)", 0),
        ("0-1 [0]", 0),
        ("0-1 (+0.00001)", 0),
        ('1, "2', 3),
    ],
)
def test_errors_point_at_the_item(text: str, caret: int) -> None:
    with pytest.raises(InputError) as caught:
        parse_floats(text)
    assert f"character {caret + 1}\n" in str(caught.value)
    assert str(caught.value).split("\n")[3] == " " * (4 + caret) + "^"


def test_whole_number_axes_refuse_fractions() -> None:
    with pytest.raises(InputError, match="whole numbers"):
        parse_ints("1, 2.5")


def test_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match="no values"):
        parse_floats(" , ")


def test_quotes_and_empty_items() -> None:
    assert parse_texts('a, "b, c" , d') == ("a", "b, c", "d")
    assert parse_texts("a,,b") == ("a", "", "b")
    assert parse_texts('"say ""hi""", x') == ('say "hi"', "x")
    assert parse_texts("藍髮, 黑髮\n銀髮") == ("藍髮", "黑髮", "銀髮")
    with pytest.raises(InputError, match="follows a closing quote"):
        parse_texts('"a" b')


@given(st.lists(st.text(alphabet=st.characters(blacklist_categories=["Cs", "Cc"])), min_size=1))
def test_quoted_texts_come_back(items: list[str]) -> None:
    text = ",".join('"' + item.replace('"', '""') + '"' for item in items)
    assert [item.text for item in split_items(text)] == [item.strip() for item in items]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.3, "0.3"), (7.0, "7"), (-0.35, "-0.35"), (1 / 3, "0.33333333"), (-0.0, "0"), (100.0, "100")],
)
def test_numbers_are_shown_as_typed(value: float, shown: str) -> None:
    assert show_number(value) == shown


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("0, 0,3, 0,5", "0, 0.3, 0.5"),
        ("0,3, 0,5, 1", "0.3, 0.5, 1"),
        ("1, 1,5, 2", "1, 1.5, 2"),
        ("1, 0,5, 0", "1, 0.5, 0"),
        ("-0,5, 0, 0,5", "-0.5, 0, 0.5"),
        ("0,3", "0.3"),
        ("0,75", "0.75"),
        ("0,3,0,5", "0.3, 0.5"),
        ("0,0,3,0,5,1", "0, 0.3, 0.5, 1"),
    ],
)
def test_decimal_commas_are_told(text: str, meant: str) -> None:
    note = decimal_comma_note(text)
    assert note is not None
    assert note.endswith(f"a decimal has a point: {meant}")


@pytest.mark.parametrize(
    "text",
    [
        "0, 1", "0,1", "1,0", "0, 1,2", "0,1, 2", "0, 0.3, 0.5", "0.3,0.5", "0,0.5,1", "4,8,16", "1, 2,3, 4",
        "0..1 (+0.25)", "0-1", "-1,0,1", "-1, 1", "0", "", "0,1,2", "4, 0, 8",
    ],
)  # fmt: skip
def test_lists_of_whole_numbers_are_left_alone(text: str) -> None:
    assert decimal_comma_note(text) is None


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("'a, b', 'c, d'", ("a, b", "c, d")),
        ("ALL, '1,0,0' , x", ("ALL", "1,0,0", "x")),
        ("'it''s, so', b", ("it's, so", "b")),
        ("'tis, the 'end'", ("'tis", "the 'end'")),
        ("rock 'n' roll, 'n' roll", ("rock 'n' roll", "'n' roll")),
        ("''", ("",)),
    ],
)
def test_items_in_single_quotes(text: str, items: tuple[str, ...]) -> None:
    """For lists that stand in double quotes on a command line; an apostrophe is an ordinary character."""
    assert parse_texts(text) == items
