"""Words that a model never learned are told, with those that it knows, read from its own table of tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from checkpoints import write_safetensors
from loralathe.adapters import ModelFolders
from loralathe.progress import CallableSink, Event, Progress
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.rendering.clip_tokens import encode_text
from loralathe.rendering.prepare import prepare
from loralathe.rendering.vocabulary import TOKENS, remarks_on, vocabulary_of
from rendering.conftest import make_checkpoint

KNOWN = ("cat", "tree", "a", "beret")
Tensors = dict[str, torch.Tensor]


def taught(tensors: Tensors) -> Tensors:
    """The checkpoint with one row for all tokens but those of KNOWN and the comma."""
    name = next(name for name in tensors if name.endswith("token_embedding.weight"))
    table = tensors[name]
    assert table.shape[0] == TOKENS
    rows = [token for text in (*KNOWN, ",") for token in encode_text(text)]
    shared = table[:1].repeat(TOKENS, 1)
    shared[rows] = table[rows] + 1
    return tensors | {name: shared}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "small.safetensors"
    write_safetensors(path, taught(make_checkpoint("sd1")))
    return path


def test_the_words_are_read_from_the_table(small: Path, tmp_path: Path) -> None:
    found = vocabulary_of(small)
    assert found is not None
    assert found.words == ("a", "beret", "cat", "tree")
    assert found.lacks("a Cat, (dog:1.3), [tree] BREAK the cat's beret, 猫, 3") == ["dog", "the", "猫"]
    write_safetensors(tmp_path / "large.safetensors", make_checkpoint("sd1"))
    assert vocabulary_of(tmp_path / "large.safetensors") is None, "a row for each token says nothing"


@pytest.mark.parametrize("held", [False, True])
def test_unknown_words_are_told_once(small: Path, held: bool) -> None:
    events: list[Event] = []
    weights = {"m": taught(make_checkpoint("sd1"))} if held else None
    progress = Progress(CallableSink(events.append))
    request = ImageRequest(
        "m" if held else str(small), prompt="a dog, cat", negative="fog", steps=1, width=64, height=64
    )
    with LocalRenderer("cpu", weights=weights, progress=progress) as renderer:
        remark = (
            "these words say nothing to this model: 'dog', 'fog'\n"
            "it knows these, one by one or together: a, beret, cat, tree"
        )
        for _ in range(2):
            renderer.render([request], lambda index, image: None)
    assert [event.text for event in events if event.text].count(remark) == 1


def test_known_words_are_not_told(small: Path) -> None:
    request = ImageRequest(str(small), prompt="a cat, beret", negative="tree")
    assert remarks_on([prepare(0, request, ModelFolders())], {}) == []
