"""A text is found by its template; its values are translated too, and names are not."""

from __future__ import annotations

import pytest

from loralathe.words import Catalogue

BOOK = Catalogue(
    {
        "blocks": "分層",
        "changed": "改變",
        "copied": "複製",
        "'{1}' is not a block of {2}": "{2} 沒有「{1}」這個分層",
        "the text encoder": "文字編碼器",
        "{1} and {2} more": "{1}，另有 {2:n} 個",
        "{1} of {2}": "{2:n} 之中的 {1:n}",
        "'{1}' is missing": "缺少「{1:w}」",
        "write {{\"a\": 1}}": "寫成 {{\"a\": 1}}",
        "{1}, character {2}\n    {3}\n    {4}^": "{1}，第 {2} 個字元\n    {3}\n    {4}^",
    },
    {"tensor": "個張量"},
    {"FILE": "檔案"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("blocks", "分層"),
        ("'blocks' is not a block of the text encoder", "文字編碼器 沒有「blocks」這個分層"),
        ("1 tensor", "1 個張量"),
        ("2,515 tensors", "2,515 個張量"),
        ("a, b, c and 7 more", "a, b, c，另有 7 個"),
        ("722 changed · 1793 copied", "722 改變 · 1793 複製"),
        ("3 MB of 6.94 GB", "6.94 GB 之中的 3 MB"),
        ("a photo of a girl", "a photo of a girl"),
        ("'FILE' is missing", "缺少「檔案」"),
        ("'a' is missing", "缺少「a」"),
        ('write {"a": 1}', '寫成 {"a": 1}'),
        ("blocks, character 3\n    A B\n      ^", "分層，第 3 個字元\n    A B\n      ^"),
        ("nobody wrote this", "nobody wrote this"),
        ("", ""),
    ],
)
def test_texts_are_found(english: str, chinese: str) -> None:
    assert BOOK.say(english) == chinese
