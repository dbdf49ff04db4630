"""The prompt grammar against A1111's documented results, and its defects mended."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import at_most
from loralathe.rendering.prompts import (
    BREAK,
    WeightedText,
    cut_chunks,
    expand_schedule,
    parse_emphasis,
    plan_prompt,
    split_parts,
)


def weights(prompt: str) -> list[tuple[str | None, float]]:
    return [(piece.text, round(piece.weight, 6)) for piece in parse_emphasis(prompt)[0]]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [("", 1)]),
        ("plain words", [("plain words", 1)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        ("a) b] c", [("a) b] c", 1)]),
        ("(a [b\\:1.5])", [("a ", 1.1), ("b:1.5", 1)]),
        ("[x:1.2]", [("x:1.2", 0.909091)]),
        ("(a:-0.5) (b: 1.5 )", [("a", -0.5), (" ", 1), ("b", 1.5)]),
        ("(a:1,2)", [("a:1,2", 1.1)]),
        (r"\(literal\) \[x\] \\", [("(literal) [x] \\", 1)]),
        ("a\\b", [("a\\b", 1)]),
        ("a BREAK b", [("a", 1), (None, 1), ("b", 1)]),
        ("(a BREAK b:1.3)", [("a", 1.3), (None, 1), ("b", 1.3)]),
        ("unBREAKable", [("unBREAKable", 1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1),
                ("house", 1.573),
                (" ", 1.1),
                ("on", 1),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641),
                (".", 1.1),
            ],
        ),
    ],
)
def test_emphasis(prompt: str, expected: list[tuple[str | None, float]]) -> None:
    assert weights(prompt) == expected


def test_a_weight_that_is_no_number_is_text_with_its_place() -> None:
    pieces, issues = parse_emphasis("x (a:1.2.3) (b:1.4)")
    assert [(p.text, round(p.weight, 2)) for p in pieces] == [
        ("x ", 1), ("a:1.2.3", 1.1), (" ", 1), ("b", 1.4)
    ]  # fmt: skip
    assert [(issue.position, "1.2.3" in issue.message) for issue in issues] == [(4, True)]


@given(st.text(alphabet="ab ()[]:|\\.12,", max_size=40))
def test_no_text_breaks_the_grammar(prompt: str) -> None:
    plan = plan_prompt(prompt, 5)
    for text in plan.distinct_texts():
        assert parse_emphasis(text)[0]


@given(st.text(alphabet="abc ,.", min_size=1, max_size=30))
def test_words_without_brackets_are_untouched(prompt: str) -> None:
    texts, issues = expand_schedule(prompt, 3)
    assert set(texts) == {prompt}
    assert not issues
    assert parse_emphasis(prompt)[0] == [WeightedText(prompt)]


def by_step(prompt: str, steps: int = 4) -> list[str]:
    return list(expand_schedule(prompt, steps)[0])


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("[a:b:0.5]", ["a", "a", "b", "b"]),
        ("[a:b:1]", ["a", "b", "b", "b"]),
        ("[a:b:1.0]", ["a"] * 4),
        ("[a:b:0]", ["b"] * 4),
        ("[a:b:-3]", ["b"] * 4),
        ("x[a::2]y", ["xay", "xay", "xy", "xy"]),
        ("[a:3]", ["", "", "", "a"]),
        ("[a|b]", ["a", "b", "a", "b"]),
        ("[a||c]", ["a", "", "c", "a"]),
        ("[[a|b]:c:2]", ["a", "b", "c", "c"]),
        ("[a (b:1.2):c:2]", ["a (b:1.2)", "a (b:1.2)", "c", "c"]),
        ("[a (b:c:2]", ["a (b", "a (b", "c", "c"]),
        ("(a:1.2) [b]", ["(a:1.2) [b]"] * 4),
        (r"[a\:b:c:2]", [r"a\:b", r"a\:b", "c", "c"]),
        ("[a|b:0.5]", ["[a|b:0.5]"] * 4),
        ("[a:b:c]", ["[a:b:c]"] * 4),
        ("[a:b:c:0.5]", ["[a:b:c:0.5]"] * 4),
        ("[a:[b:c:3]:1]", ["a", "b", "b", "c"]),
        ("never [closed:b:2", ["never [closed:b:2"] * 4),
        ("[unclosed [a:b:2]", ["[unclosed a", "[unclosed a", "[unclosed b", "[unclosed b"]),
    ],
)
def test_schedules(prompt: str, expected: list[str]) -> None:
    assert by_step(prompt) == expected


def test_a_bracket_that_is_no_schedule_is_told_with_its_place() -> None:
    issues = plan_prompt("hills, [a:b:c], (x:1.2)", 4).issues
    assert [issue.position for issue in issues] == [7]
    assert "not a schedule" in str(issues[0])


def test_a_weight_in_square_brackets_is_told() -> None:
    (issue,) = plan_prompt("[z:1.2]", 4).issues
    assert "120%" in issue.message


def test_parts_joined_by_and() -> None:
    parts, _ = split_parts("a cat :1.2 AND a dog AND (x:1.3):-0.5")
    assert [(p.text, p.weight) for p in parts] == [("a cat", 1.2), ("a dog", 1), ("(x:1.3)", -0.5)]


def test_a_number_without_and_is_text() -> None:
    assert split_parts("wide 16:9")[0][0].text == "wide 16:9"
    assert len(split_parts("(a AND b:1.2)")[0]) == 1
    assert len(split_parts("(a AND b")[0]) == 2


def words(text: str) -> list[int]:
    """A toy tokenizer: 267 for a comma, a number for a number."""
    return [267 if word == "," else int(word) for word in text.split()]


def test_chunks_of_75_and_padding() -> None:
    (chunk,) = cut_chunks([WeightedText("5 6", 1.3)], words)
    assert chunk.ids("end") == [49406, 5, 6, *[49407] * 74]
    assert chunk.ids("zero") == [49406, 5, 6, 49407, *[0] * 73]
    assert chunk.row_weights() == [1, 1.3, 1.3, *[1] * 74]
    assert len(cut_chunks([WeightedText("1 " * 75)], words)) == 1
    assert [len(c.tokens) for c in cut_chunks([WeightedText("1 " * 76)], words)] == [75, 1]
    assert [len(c.tokens) for c in cut_chunks([WeightedText("")], words)] == [0]


@pytest.mark.parametrize(
    ("comma_at", "sizes"), [(74, [75, 1]), (60, [61, 15]), (55, [56, 20]), (54, [75, 1]), (10, [75, 1])]
)
def test_comma_backtracking(comma_at: int, sizes: list[int]) -> None:
    tokens = ["1"] * 76
    tokens[comma_at] = ","
    assert [len(c.tokens) for c in cut_chunks([WeightedText(" ".join(tokens))], words)] == sizes


def test_a_comma_as_the_76th_token_moves_nothing() -> None:
    tokens = ["1"] * 76
    tokens[60] = tokens[75] = ","
    assert [len(c.tokens) for c in cut_chunks([WeightedText(" ".join(tokens))], words)] == [75, 1]


def test_break_closes_a_chunk() -> None:
    sizes = [len(c.tokens) for c in cut_chunks([WeightedText("1 2"), BREAK, WeightedText("3"), BREAK], words)]
    assert sizes == [2, 1]
    assert [len(c.tokens) for c in cut_chunks([BREAK, WeightedText("3")], words)] == [0, 1]


@pytest.mark.parametrize("sign", ["(", "["])
def test_thousands_of_nested_brackets(sign: str) -> None:
    """Each weighs all that it holds: by one multiplication of an array, not by a new list of objects."""
    with at_most(100):
        found, _ = parse_emphasis(f"{sign}a BREAK " * 2000)
    assert len(found) == 4000
    assert found[2].weight == pytest.approx((1.1 if sign == "(" else 1 / 1.1) ** 2)
