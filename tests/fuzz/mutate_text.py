"""Texts that are nearly right: cut, doubled, spliced, and salted with what parsers trip over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

NASTY = (
    "", " ", "\t", "\n", "\u00a0", "\u200b", "\u202e", "\ufeff", "é", "e\u0301", "ﬁ", "²", "٣", "五", "😀",
    "\x1b[31m",
    "0", "-0", "1", "-1", "1.", ".5", "1e9", "1e308", "1e999", "-1e999", "1e-400", "nan", "inf", "-inf",
    "NaN",
    "0x10", "0b1", "1_000", "1j", "9" * 30, "9" * 5000, "1" + "0" * 400, "0.1" * 2, "True", "None",
    "(", ")", "((", "))", "[", "]", "{", "}", "<", ">", "<lora:", "'", '"', '"""', "\\", "\\\\", "%s",
    "{0}", "$HOME", "~", "`id`",
    "+", "-", "*", "**", "/", "//", "%", "@", "=", "==", ":", "::", ":=", ",", ",,", ";", "..", "...",
    "|", "&", "#",
    "../", "/", "./", "/dev/zero", "/dev/null", "con", "a" * 300, "a/" * 200,
    "lambda: 0", "__class__", "__import__('os').system('id')", "x if x else y", "[x for x in x]",
    "f'{x}'", "await x", "*x",
)  # fmt: skip
DEEP = (
    ("(", ")"), ("[", "]"), ("-", ""), ("+", ""), ("1*", ""), ("x+", "x"), ("fp16(", ")"), ("not ", ""),
    ("{a=", "}"),
    ("<lora:", ">"), ("[a:", ":1]"), ("(a:", "1)"), ("a|", ""), ("a.", "a"),
)  # fmt: skip


def mutated(text: str, words: Sequence[str], draw: Random) -> str:
    """`text` after one to three small accidents; `words` are at home in its language."""
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
        text = draw.choice(_ACCIDENTS)(text, words, draw)
    return text


def _cut(text: str, words: Sequence[str], draw: Random) -> str:
    begin, end = _span(text, draw)
    return text[:begin] + text[end:]


def _double(text: str, words: Sequence[str], draw: Random) -> str:
    begin, end = _span(text, draw)
    return text[:end] + text[begin:end] * draw.choice((1, 2, 20)) + text[end:]


def _insert(text: str, words: Sequence[str], draw: Random) -> str:
    at = draw.randint(0, len(text))
    return text[:at] + _word(words, draw) + text[at:]


def _replace(text: str, words: Sequence[str], draw: Random) -> str:
    begin, end = _span(text, draw)
    return text[:begin] + _word(words, draw) + text[end:]


def _swap(text: str, words: Sequence[str], draw: Random) -> str:
    a, b, c = sorted(draw.randint(0, len(text)) for _ in range(3))
    return text[:a] + text[b:c] + text[a:b] + text[c:]


def _nest(text: str, words: Sequence[str], draw: Random) -> str:
    opening, closing = draw.choice(DEEP)
    depth = draw.choice((2, 30, 99, 101, 250, 1500))
    begin, end = _span(text, draw) if draw.random() < 0.5 else (0, len(text))
    return text[:begin] + opening * depth + text[begin:end] + closing * depth + text[end:]


def _change_case(text: str, words: Sequence[str], draw: Random) -> str:
    return draw.choice((text.upper, text.lower, text.swapcase, text.title))()


def _half_character(text: str, words: Sequence[str], draw: Random) -> str:
    """What Python makes of a byte in an argument that is no UTF-8."""
    at = draw.randint(0, len(text))
    return text[:at] + chr(0xDC00 + draw.randint(128, 255)) + text[at:]


def _word(words: Sequence[str], draw: Random) -> str:
    return draw.choice(words if words and draw.random() < 0.5 else NASTY)


def _span(text: str, draw: Random) -> tuple[int, int]:
    begin = draw.randint(0, len(text))
    return begin, min(len(text), begin + draw.choice((0, 1, 1, 2, 5, 20)))


_ACCIDENTS: tuple[Callable[[str, Sequence[str], Random], str], ...] = (
    _cut, _cut, _double, _insert, _insert, _insert, _replace, _replace, _replace, _swap, _nest,
    _change_case,
    _half_character,
)  # fmt: skip
