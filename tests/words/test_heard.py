"""Pieces of our texts that stay English are found; names, data and other people's words are not."""

from __future__ import annotations

import pytest

from words.heard import left_in_english


@pytest.mark.parametrize(
    "text",
    [
        "epsilon (SDXL default, no v-prediction mark in the file)",
        "there is no sampler 'no v-prediction mark in the file'",
        "prompt: a girl with a red hat in the forest",
        "somebody else's words, which we do not know",
        "LoRA Block Weight",
        "",
    ],
)
def test_nothing_is_found(text: str) -> None:
    assert left_in_english(text) == ()


def test_what_is_left_is_found() -> None:
    assert left_in_english("nobody translates this: no v-prediction mark in the file") != ()
