"""Textual-inversion embeddings: vectors that stand in a prompt by their file's name.

A name is found among the tokens of a prompt, the longest first, as A1111 does; case does not matter. Vectors
get token ids beyond CLIP's table, so that chunks count and weigh them like words.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from loralathe.errors import InputError
from loralathe.rendering.clip_tokens import TABLE_ROWS, encode_text, with_names
from loralathe.rendering.loading import Model, TextEncoder
from loralathe.rendering.prompts import TOKENS, Unit
from loralathe.tensorfiles import open_tensorfile

OF_SDXL = {"te1": "clip_l", "te2": "clip_g"}
"""Which of the two tensors of an SDXL embedding is whose, by A1111's names."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """An embedding of an open model: the ids of its vectors in `EmbeddingTable`."""

    name: str
    ids: tuple[int, ...]


@dataclass(eq=False)
class EmbeddingTable:
    """The embeddings that an open model has read, each once; a file that was written again is read again.

    vectors: of each text encoder, (all ids beyond CLIP's table, width)
    """

    model: Model
    vectors: list[torch.Tensor] = field(default_factory=list)
    _known: dict[tuple[str, int, int], Embedding] = field(default_factory=dict)

    def of(self, path: str) -> Embedding:
        """InputError for a file that is no embedding or is for another family."""
        status = os.stat(path)
        key = (path, status.st_mtime_ns, status.st_size)
        if key not in self._known:
            self._known[key] = self._add(Path(path))
        return self._known[key]

    def _add(self, file: Path) -> Embedding:
        parts = _fitting(read_embedding(file), self.model, str(file))
        if not self.vectors:
            self.vectors = [part[:0] for part in parts]
        first = TABLE_ROWS + len(self.vectors[0])
        self.vectors = [torch.cat([old, part]) for old, part in zip(self.vectors, parts, strict=True)]
        return Embedding(file.stem, tuple(range(first, first + len(parts[0]))))


def read_embedding(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of an embedding, each (vectors, width) in float32, by their names in the file."""
    with open_tensorfile(file, embedding=True) as opened:
        tensors = {name: opened.read(name).float() for name in opened.header.tensors}
    two = {name: tensors[name] for name in ("clip_g", "clip_l") if name in tensors}
    found = {name: t[None] if t.ndim == 1 else t for name, t in (two or tensors).items()}
    right = len(found) == (len(two) or 1) and all(t.ndim == 2 for t in found.values())
    if not right or len({len(t) for t in found.values()}) != 1:
        raise InputError(
            "this is not a textual-inversion embedding",
            where=str(file),
            fix="it holds one tensor of vectors, or clip_l and clip_g for SDXL",
        )
    count = len(next(iter(found.values())))
    if not 1 <= count <= TOKENS:
        raise InputError(
            f"the embedding has {count} vectors; a chunk of a prompt has room for {TOKENS}",
            where=str(file),
            fix="use an embedding of fewer vectors",
        )
    if not all(bool(t.isfinite().all()) for t in found.values()):
        raise InputError(
            "the embedding holds NaN or infinity",
            where=str(file),
            fix="use another embedding: the training or its save went wrong",
        )
    return found


def _fitting(tensors: Mapping[str, torch.Tensor], model: Model, where: str) -> list[torch.Tensor]:
    """The tensor of each text encoder, in their order."""
    widths = [_table_of(encoder).weight.shape[1] for encoder in model.encoders]
    names = list(tensors)
    if len(widths) == 2 and len(tensors) == 2:
        names = [OF_SDXL[encoder.reading.component] for encoder in model.encoders]
    parts = [tensors[name] for name in names]
    if [part.shape[1] for part in parts] != widths:
        has = " and ".join(str(part.shape[1]) for part in parts)
        needs = " and ".join(map(str, widths))
        raise InputError(
            f"this embedding is for another family: its vectors have {has} numbers, "
            f"those of {model.family.label} have {needs}",
            where=where,
            fix="use an embedding made for this family, or take its name out of the prompt",
        )
    return parts


def _table_of(encoder: TextEncoder) -> torch.nn.Embedding:
    table: torch.nn.Embedding = encoder.inner.embeddings.token_embedding
    return table


def encode_with(embeddings: Sequence[Embedding]) -> Callable[[str], Sequence[Unit]]:
    """Ids of a text, in which the vectors of an embedding are one unit."""
    known = [(tuple(encode_text(one.name)), one.ids) for one in embeddings]

    def encode(text: str) -> list[Unit]:
        return [token if ids is None else ids for token, ids in with_names(text, known)]

    return encode if known else encode_text


@contextmanager
def vectors_in_place(
    encoder: TextEncoder, ids: torch.Tensor, vectors: torch.Tensor | None
) -> Iterator[torch.Tensor]:
    """Ids (rows, 77) without those beyond CLIP's table, whose vectors the encoder reads within."""
    own = ids >= TABLE_ROWS
    if vectors is None or not bool(own.any()):
        yield ids
        return

    def put(module: torch.nn.Module, given: object, out: torch.Tensor) -> torch.Tensor:
        out = out.clone()
        out[own] = vectors.to(out)[ids[own] - TABLE_ROWS]
        return out

    handle = _table_of(encoder).register_forward_hook(put)
    try:
        yield ids.masked_fill(own, 0)
    finally:
        handle.remove()
