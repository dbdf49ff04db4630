"""A text is found by its template; its values are translated too, and names are not."""

from __future__ import annotations

import pytest

from loralathe.words import Catalogue, read_catalogue

BOOK = Catalogue(
    {
        "'{1}' is not a block of {2}": "{2} 沒有「{1}」這個分層",
        "the text encoder": "文字編碼器",
        "{1} and {2} more": "{1}，另有 {2:n} 個",
        "{1} of {2}": "{2:n} 之中的 {1:n}",
        "it is {1}": "它是{1:t}",
        "'{1}' is missing": "缺少「{1:w}」",
        "known names: {1}": "已知的名稱：{1:m}",
        "no block": "沒有分層",
        "write {{\"a\": 1}}": "寫成 {{\"a\": 1}}",
        "{1}, character {2}\n    {3}\n    {4}^": "{1}，第 {2} 個字元\n    {3}\n    {4}^",
    },
    {"block": "分層", "changed": "改變", "copied": "複製"},
    {"tensor": "個張量"},
    {"FILE": "檔案"},
)  # fmt: skip


def test_labels_are_names_of_rows_only() -> None:
    assert BOOK.label("block") == "分層"
    assert BOOK.label("2 tensors") == "2 個張量"
    assert BOOK.say("block") == "block"


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("the text encoder", "文字編碼器"),
        ("block", "block"),
        ("'blocks' is not a block of the text encoder", "文字編碼器沒有「blocks」這個分層"),
        ("1 tensor", "1 個張量"),
        ("2,515 tensors", "2,515 個張量"),
        ("a, b, c and 7 more", "a, b, c，另有 7 個"),
        ("722 changed · 1793 copied", "722 改變 · 1793 複製"),
        ("3 MB of 6.94 GB", "6.94 GB 之中的 3 MB"),
        ("a photo of a girl", "a photo of a girl"),
        ("'FILE' is missing", "缺少「檔案」"),
        ("'a' is missing", "缺少「a」"),
        ('write {"a": 1}', '寫成 {"a": 1}'),
        ("formula, character 3\n    A B\n      ^", "formula，第 3 個字元\n    A B\n      ^"),
        ("the text encoder, the text encoder", "文字編碼器，文字編碼器"),
        ("the text encoder (2 tensors)", "文字編碼器（2 個張量）"),
        ("it is the text encoder", "它是文字編碼器"),
        ("it is not ours", "it is not ours"),
        ("nobody wrote this", "nobody wrote this"),
        ("'a b'", "「a b」"),
        ("'a', 'b' or 'c'", "「a」、「b」或「c」"),
        ("it's a photo of 'a'", "it's a photo of 'a'"),
        ("known names: none, changed, no block", "已知的名稱：none、changed、沒有分層"),
        ("known names: 2 tensors: a, b and 7 more", "已知的名稱：2 個張量：a、b，另有 7 個"),
        ("the text encoder, a, b, the text encoder (1)", "文字編碼器，a、b，文字編碼器（1）"),
        ("", ""),
    ],
)
def test_texts_are_found(english: str, chinese: str) -> None:
    assert BOOK.say(english) == chinese


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("the formula, step 'lora', character 1: resize(A)", "公式，步驟「lora」，第 1 個字元：resize(A)"),
        ("resize() needs a delta; this is weights", "resize() 需要差異；這是權重"),
        (
            "epsilon (SDXL default, no v-prediction mark in the file)",
            "epsilon（SDXL 的預設值，檔案裡沒有 v 預測的標記）",
        ),
        ("strength 'nan' is not a finite number", "強度「nan」不是有限數字"),
        (
            "known are 4 (dev or schnell), 9 (inpainting) and 8 (fill)",
            "已知的是 4（dev 或 schnell）、9（inpainting）與 8（fill）",
        ),
        (
            "SD 1.5, SDXL refiner and Qwen-Image 2.1 checkpoints are supported",
            "支援 SD 1.5、SDXL refiner 與 Qwen-Image 2.1 的模型",
        ),
        (
            'by the block names of SD 1.5 it is "BASE=1" (SDXL has no OUT09…OUT11; IN00 IN03 weigh 1); ',
            '依 SD 1.5 的分層名稱寫成 "BASE=1"（SDXL 沒有 OUT09…OUT11；IN00 IN03 的權重是 1）；',
        ),
        ("Missing option '-m' / '--multiplier'", "缺少選項「-m」／「--multiplier」"),
        ("there is no sampler 'Foo'", "沒有「Foo」這個取樣器"),
        ("A: 44.8 MB of 53.0 MB", "A：53.0 MB 之中的 44.8 MB"),
    ],
)
def test_texts_of_the_program(english: str, chinese: str) -> None:
    assert read_catalogue("zh-TW").say(english) == chinese
