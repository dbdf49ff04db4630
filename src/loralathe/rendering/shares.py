"""From an AdapterUse to the strength of every module: names, presets and the one definition of strength."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from loralathe.families import Family
from loralathe.rendering.runtime import LoadedAdapter, Share
from loralathe.strengths import AdapterUse
from loralathe.strengths.blocks import is_text_encoder
from loralathe.strengths.blockweights import BlockWeights, parse_block_weights
from loralathe.strengths.elements import parse_elements
from loralathe.strengths.strength import Strength, check_blocks, effective
from loralathe.strengths.tokens import seeded_tokens

NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Presets:
    """The person's block lists and element rules by name, and what a block weighs that a list lacks."""

    blocks: Mapping[str, str] = field(default_factory=lambda: NONE)
    elements: Mapping[str, str] = field(default_factory=lambda: NONE)
    missing_blocks: float | None = None


def strength_of(use: AdapterUse, family: Family, presets: Presets, seed: int) -> Strength:
    """`use` in the terms of `loralathe.adapters`. R and U in a list are drawn from the image's seed."""
    weights: BlockWeights | None = None
    if use.blocks is not None:
        drawn_from = seed ^ zlib.crc32(f"{use.file}:{use.blocks}".encode())
        tokens = seeded_tokens(drawn_from, use.x)
        weights = parse_block_weights(use.blocks, family, presets.blocks, tokens=tokens)
        if presets.missing_blocks is not None:
            weights = weights.with_missing(presets.missing_blocks)
    rules = () if use.elements is None else parse_elements(use.elements, family, presets.elements)
    return Strength(use.te, use.unet, weights, rules)


def share_of(adapter: LoadedAdapter, strength: Strength) -> Share:
    """The effective strength of every module of the adapter; modules at 0 are left out and cost nothing."""
    check_blocks(strength, adapter.modules.values())
    te: dict[str, float] = {}
    unet: dict[str, float] = {}
    for name, module in adapter.modules.items():
        value = effective(strength, module)
        if value != 0.0:
            (te if is_text_encoder(name) else unet)[name] = value
    return Share(adapter, te, unet)
