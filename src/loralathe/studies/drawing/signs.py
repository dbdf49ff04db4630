"""ASCII spellings of signs, for labels that the fonts at hand cannot draw as they are."""

from __future__ import annotations

import unicodedata

_SPELT = {
    "→": "->", "←": "<-", "↔": "<->", "⇒": "=>", "⇐": "<=", "⇔": "<=>", "➜": "->", "➔": "->",
    "×": "x", "÷": "/", "−": "-", "±": "+-", "√": "sqrt ", "∞": "inf",
    "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "²": "^2", "³": "^3", "°": " deg", "µ": "u",
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "…": "...", "·": ".", "•": "*",
    "‘": "'", "’": "'", "“": '"', "”": '"', "′": "'", "″": '"', "«": '"', "»": '"', "‹": "'", "›": "'",
    "、": ",", "。": ".", "「": '"', "」": '"', "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE",
    "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D",
}  # fmt: skip


def spelling(character: str) -> str | None:
    """`->` for →, `x` for ×, `e` for é; "" for what is never seen; None where nothing says the same."""
    if character in _SPELT:
        return _SPELT[character]
    if unicodedata.category(character) == "Cf":  # joiners, marks of direction
        return ""
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
    plain = plain.replace("\u2044", "/")  # NFKD writes ½ with a sign of its own
    return plain if plain.isascii() and plain else None
