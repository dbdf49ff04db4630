"""Text → conditioning for transformers: the text as it stands, cut at the encoder's length, no emphasis.

CLIPs' hidden states stand side by side, zeros beside them up to the width of a language model's, which stand
behind them; pooled outputs stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from loralathe.errors import InputError
from loralathe.rendering.clip_tokens import encode_text
from loralathe.rendering.loading import Model, TextEncoder
from loralathe.rendering.prompts import TOKENS, Chunk
from loralathe.rendering.runtime import Fitting, RowShares, terms_of_batch

AT_ONCE = 8
"""Texts through a text encoder at once."""


@dataclass(frozen=True, eq=False)
class Read:
    """What one encoder makes of one text. context: (tokens, width);  pooled: (width,)"""

    context: torch.Tensor | None
    pooled: torch.Tensor | None


def read_texts(
    model: Model, texts: Sequence[tuple[str, RowShares]], device: torch.device
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """(context, pooled) of every text, under its own adapter strengths."""
    by_encoder = []
    for encoder in model.encoders:
        parts = (texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE))
        by_encoder.append([one for part in parts for one in _read_rows(model, encoder, part, device)])
    missing = [one.tokens.most for one in model.absent if one.tokens]
    return [_joined(model, reads, sum(missing)) for reads in zip(*by_encoder, strict=True)]


def _read_rows(
    model: Model, encoder: TextEncoder, rows: Sequence[tuple[str, RowShares]], device: torch.device
) -> list[Read]:
    reading = encoder.reading
    tokens = [_ids(encoder, text) for text, _ in rows]
    longest = max(map(len, tokens))
    pad = 0 if encoder.tokenizer is None else encoder.tokenizer.pad
    ids = torch.tensor([own + [pad] * (longest - len(own)) for own in tokens], device=device)
    _check_vocabulary(encoder, ids, model.name)
    terms = terms_of_batch([shares for _, shares in rows], text_side=True, device=device)
    own = {name: found for name, found in terms.items() if name.startswith(reading.component + ".")}
    more = {}
    if reading.network == "qwen3":
        lengths = [_length(encoder, one) for one in tokens]
        places = torch.arange(longest, device=device)
        more["attention_mask"] = (places < torch.tensor(lengths, device=device)[:, None]).long()
    with Fitting(model) as fitting:
        fitting.fit(own)
        out: Any = encoder.network(input_ids=ids, output_hidden_states=reading.network != "t5", **more)
        context = _context(encoder, out) if reading.context else None
    pooled = None
    if reading.pooled:
        pooled = out.text_embeds if reading.projected else out.pooler_output
    return [
        Read(
            None if context is None else context[row, : len(tokens[row])],
            None if pooled is None else pooled[row],
        )
        for row in range(len(rows))
    ]


def _ids(encoder: TextEncoder, text: str) -> list[int]:
    """All of one length where pad tokens are read."""
    if encoder.tokenizer is None:
        kept = tuple(encode_text(text)[:TOKENS])
        return Chunk(kept, (1.0,) * len(kept)).ids(encoder.reading.padding)
    ids, tokens = encoder.tokenizer.ids(text), encoder.tokenizer.tokens
    return ids + [encoder.tokenizer.pad] * (tokens.most - len(ids)) if tokens.padded else ids


def _length(encoder: TextEncoder, ids: list[int]) -> int:
    """Without the pad tokens behind it."""
    assert encoder.tokenizer is not None
    kept = len(ids)
    while kept and ids[kept - 1] == encoder.tokenizer.pad:
        kept -= 1
    return kept


def _check_vocabulary(encoder: TextEncoder, ids: torch.Tensor, where: str) -> None:
    rows = encoder.network.get_input_embeddings().weight.shape[0]
    if int(ids.max()) >= rows:
        raise InputError(
            f"the tokenizer has more tokens than the text encoder knows ({rows:,})",
            where=where,
            fix="name the tokenizer that belongs to this text encoder",
            about="tokenizer",
        )


def _context(encoder: TextEncoder, out: Any) -> torch.Tensor:
    if encoder.reading.network == "t5":
        found: torch.Tensor = out.last_hidden_state
        return found
    if encoder.reading.states:
        return torch.cat([out.hidden_states[number] for number in encoder.reading.states], dim=-1)
    z: torch.Tensor = out.hidden_states[-encoder.reading.default_skip]
    return encoder.inner.final_layer_norm(z) if encoder.reading.final_norm else z


def _joined(model: Model, reads: Sequence[Read], missing: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What the network reads of one text, by all of its encoders.

    missing: tokens of an encoder that is left out, which are zeros as in diffusers.
    """
    pairs = [(one.reading, read) for one, read in zip(model.encoders, reads, strict=True)]
    clips = [read.context for one, read in pairs if one.tokens is None and read.context is not None]
    texts = [read.context for one, read in pairs if one.tokens is not None and read.context is not None]
    pooled = [read.pooled for read in reads if read.pooled is not None]
    if missing:
        width = int(model.denoiser.config.joint_attention_dim)
        texts.append(clips[0].new_zeros(missing, width))
    (last,) = texts
    if clips:
        beside = torch.cat(clips, dim=-1)
        last = torch.cat([functional.pad(beside, (0, last.shape[-1] - beside.shape[-1])), last])
    return last, torch.cat(pooled) if pooled else None
