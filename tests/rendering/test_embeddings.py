"""Textual-inversion embeddings: their files, their names in prompts, and that vectors stand for words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import write_safetensors
from loralathe.errors import InputError
from loralathe.rendering import LocalRenderer
from loralathe.rendering.clip_tokens import TABLE_ROWS, encode_text
from loralathe.rendering.embedding_names import with_embeddings
from loralathe.rendering.embeddings import read_embedding
from loralathe.rendering.infotext import CHUNK, Hashes, infotext, read_infotext
from loralathe.rendering.prompts import TOKENS, WeightedText, cut_chunks
from loralathe.studies.plan import file_identity, request_key
from rendering.test_renderer import BASE, drawn

Tensors = dict[str, torch.Tensor]
TABLES = {
    "sd1": {"emb_params": "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"},
    "sdxl": {
        "clip_g": "conditioner.embedders.1.model.token_embedding.weight",
        "clip_l": "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
    },
}


@pytest.mark.parametrize(
    "held",
    [
        {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(2, 8)}, "name": "x", "step": 9},
        {"<x>": torch.ones(2, 8)},
        {"clip_g": torch.ones(2, 8), "clip_l": torch.ones(2, 4), "name": "x"},
        {"<x>": torch.ones(8)},
    ],
)
def test_pickles(tmp_path: Path, held: Any) -> None:
    torch.save(held, tmp_path / "x.pt")
    found = read_embedding(tmp_path / "x.pt")
    assert all(bool((tensor == 1).all()) and tensor.ndim == 2 for tensor in found.values())
    assert list(found) in (["*"], ["<x>"], ["clip_g", "clip_l"])


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"a": torch.ones(1, 8), "b": torch.ones(1, 8)}, "not a textual-inversion"),
        ({"clip_g": torch.ones(1, 8), "clip_l": torch.ones(2, 8)}, "not a textual-inversion"),
        ({"a": torch.ones(76, 8)}, "room for 75"),
        ({"a": torch.full((1, 8), float("nan"))}, "NaN"),
    ],
)
def test_files_that_are_none(tmp_path: Path, tensors: Tensors, told: str) -> None:
    write_safetensors(tmp_path / "x.safetensors", tensors)
    with pytest.raises(InputError, match=told):
        read_embedding(tmp_path / "x.safetensors")


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_vectors_stand_for_words(
    studio: LocalRenderer, checkpoint_of: Callable[[str], Tensors], tmp_path: Path, family: str
) -> None:
    """An embedding of the rows of two words gives the picture of these words."""
    file, words = tmp_path / "ember.safetensors", encode_text("red cat")
    tensors = {name: checkpoint_of(family)[key][words].float() for name, key in TABLES[family].items()}
    write_safetensors(file, tensors)
    small = replace(BASE, checkpoint=family, width=32, height=32, steps=1)
    named = with_embeddings(replace(small, prompt="a (Ember:1.3)", negative="ember"), {"ember": str(file)})
    assert named.embeddings == (str(file),)
    spelled = replace(small, prompt="a (red cat:1.3)", negative="red cat")
    images = drawn(studio, [named, spelled, replace(named, embeddings=())])
    assert images[0].tobytes() == images[1].tobytes() != images[2].tobytes()
    assert "TI hashes" not in images[0].info[CHUNK]


def test_one_of_another_family_is_an_error(studio: LocalRenderer, tmp_path: Path) -> None:
    file = tmp_path / "ember.safetensors"
    write_safetensors(file, {"emb_params": torch.ones(1, 9)})
    with pytest.raises(InputError, match="another family"):
        drawn(studio, [replace(BASE, embeddings=(str(file),))])


def test_the_longest_name_wins_and_tags_are_no_names() -> None:
    known = {"red": "red.pt", "red cat": "both.pt", "hina": "hina.pt"}
    request = replace(BASE, prompt="RED cat <lora:hina:1>", negative="[dog:red:1]")
    assert with_embeddings(request, known).embeddings == ("both.pt", "red.pt")
    assert with_embeddings(replace(request, prompt="redder", negative=""), known).embeddings == ()


def test_vectors_stay_in_one_chunk() -> None:
    vectors = tuple(range(TABLE_ROWS, TABLE_ROWS + 10))
    first, second = cut_chunks([WeightedText("x", 1.2)], lambda text: [320] * (TOKENS - 9) + [vectors])
    assert (len(first.tokens), second.tokens, second.weights[0]) == (TOKENS - 9, vectors, 1.2)


def test_keys_follow_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ember.pt"
    keys = set()
    for held in (b"1", b"22"):
        file.write_bytes(held)
        keys.add(request_key(replace(BASE, embeddings=(str(file),)), file_identity))
    assert len(keys | {request_key(BASE, file_identity)}) == 3
    assert "embeddings" not in BASE.to_json()


def test_hashes_follow_those_of_loras() -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    entries = read_infotext(infotext(BASE, Hashes(adapters={"l": digest}, embeddings={"e": digest}))).entries
    assert entries["TI hashes"] == f"e: {digest[:12]}"
    assert list(entries).index("TI hashes") == list(entries).index("Lora hashes") + 1
