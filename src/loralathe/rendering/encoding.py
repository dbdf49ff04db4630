"""Text → conditioning: chunks through the text encoders, emphasis, clip skip, pooled text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from loralathe.errors import InputError
from loralathe.rendering.embeddings import Embedding, EmbeddingTable, encode_with, vectors_in_place
from loralathe.rendering.loading import Model, TextEncoder
from loralathe.rendering.plain_texts import read_texts
from loralathe.rendering.prompts import Chunk, cut_chunks, parse_emphasis
from loralathe.rendering.runtime import Fitting, RowShares, terms_of_batch

ROWS_AT_ONCE = 32
"""Chunks through a text encoder at once."""


@dataclass(frozen=True, eq=False)
class Conditioning:
    """An encoded text, as the U-Net or transformer reads it.

    context: (77 · chunks, width)
    pooled:  (width of the pooled text,) of the first chunk, or None where the family has none
    """

    context: torch.Tensor
    pooled: torch.Tensor | None

    def blank(self) -> Conditioning:
        """All zeros: what SDXL was trained to see for an empty negative prompt."""
        pooled = None if self.pooled is None else torch.zeros_like(self.pooled)
        return Conditioning(torch.zeros_like(self.context), pooled)


@dataclass(frozen=True)
class TextJob:
    """One text to encode, under the adapters and with the embeddings of one image."""

    text: str
    shares: RowShares
    embeddings: tuple[Embedding, ...] = ()


def encode_texts(
    model: Model,
    jobs: Sequence[TextJob],
    clip_skip: int,
    device: torch.device,
    table: EmbeddingTable | None = None,
) -> list[Conditioning]:
    """Encode all jobs, many chunks at once; every job sees its own adapter strengths."""
    if model.pictures.flow:
        read = read_texts(model, [(job.text, job.shares) for job in jobs], device)
        return [Conditioning(context, pooled) for context, pooled in read]
    chunks = [cut_chunks(parse_emphasis(job.text)[0], encode_with(job.embeddings)) for job in jobs]
    rows = [(chunk, job.shares) for job, own in zip(jobs, chunks, strict=True) for chunk in own]
    per_encoder = []
    for number, encoder in enumerate(model.encoders):
        vectors = table.vectors[number] if table and table.vectors else None
        parts = [
            encode_rows(model, encoder, rows[start : start + ROWS_AT_ONCE], clip_skip, device, vectors)
            for start in range(0, len(rows), ROWS_AT_ONCE)
        ]
        pooled = [p for _, p in parts if p is not None]
        per_encoder.append((torch.cat([z for z, _ in parts]), torch.cat(pooled) if pooled else None))
    context = torch.cat([z for z, _ in per_encoder], dim=-1)
    pooled_rows = next((p for _, p in per_encoder if p is not None), None)
    found, row = [], 0
    for own in chunks:
        part = context[row : row + len(own)].flatten(0, 1)
        found.append(Conditioning(part, None if pooled_rows is None else pooled_rows[row]))
        row += len(own)
    return found


def encode_rows(
    model: Model,
    encoder: TextEncoder,
    rows: Sequence[tuple[Chunk, RowShares]],
    clip_skip: int,
    device: torch.device,
    vectors: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(rows, 77, width) with emphasis applied, and (rows, pooled width) or None.

    vectors: of embeddings, for ids beyond CLIP's table.
    """
    ids = torch.tensor([chunk.ids(encoder.reading.padding) for chunk, _ in rows], device=device)
    terms = terms_of_batch([shares for _, shares in rows], text_side=True, device=device)
    own = {name: found for name, found in terms.items() if name.startswith(encoder.reading.component + ".")}
    with Fitting(model) as fitting, vectors_in_place(encoder, ids, vectors) as plain:
        fitting.fit(own)
        out: Any = encoder.network(input_ids=plain, output_hidden_states=True)
        z = read_layer(encoder, out.hidden_states, clip_skip, model.name)  # the last norm may be changed, too
    weights = torch.tensor([chunk.row_weights() for chunk, _ in rows], device=device, dtype=z.dtype)
    return emphasised(z, weights), out.text_embeds if encoder.reading.pooled else None


def read_layer(
    encoder: TextEncoder, hidden: Sequence[torch.Tensor], clip_skip: int, where: str
) -> torch.Tensor:
    """Hidden state −n: the family's own for clip skip 1, else n = clip skip, normed as the family does.

    (A1111 ignores clip skip on SD 2 and, by default, on SDXL; there 2 is the family's own layer.)
    """
    skip = encoder.reading.default_skip if clip_skip == 1 else max(clip_skip, 1)
    place = skip - encoder.reading.cut
    place = max(place, 1)
    if place > len(hidden):
        raise InputError(
            f"clip skip {clip_skip} is more than the text encoder has layers ({len(hidden) - 1})", where=where
        )
    z = hidden[-place]
    normed: torch.Tensor = encoder.inner.final_layer_norm(z) if encoder.reading.final_norm else z
    return normed


def emphasised(z: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """z·w per token, then rescaled so that each chunk keeps its mean (A1111's "Original" emphasis).

    z (rows, 77, width), weights (rows, 77). A row whose weights are all 1 is returned as it is. The mean is
    taken per row; A1111 takes it over whatever happens to share the batch.
    """
    changed = (weights != 1).any(dim=1)
    if not bool(changed.any()):
        return z
    scaled = (z * weights[..., None]).float()
    before = z.float().mean(dim=(1, 2), keepdim=True)
    after = scaled.mean(dim=(1, 2), keepdim=True)
    restored = torch.where(after == 0, scaled, scaled * (before / after)).to(z.dtype)
    return torch.where(changed[:, None, None], restored, z)
