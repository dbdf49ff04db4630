"""Strength: how much of an adapter goes into each module; the one definition for all of loralathe.

    effective(module) = s × w
    s = te strength for text-encoder modules, unet strength for the rest
    w = value of the last matching element rule, else the weight of the module's block, else 1

Linear, sign kept, no square root (SEMANTICS §1). alpha / rank is no part of it: factors carry that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from loralathe.errors import InputError
from loralathe.families import Family
from loralathe.strengths.blocks import block_names_of, is_text_encoder
from loralathe.strengths.elements import ElementRule, last_match, parse_elements
from loralathe.strengths.presets import NO_PRESETS
from loralathe.strengths.tokens import TokenValue
from loralathe.strengths.use import AdapterUse
from loralathe.strengths.weights import BlockWeights, missing_blocks_error, parse_block_weights

LARGEST = 3.4028234663852886e38
"""Of float32."""


class Addressed(Protocol):
    """What strength must know of a module."""

    @property
    def name(self) -> str: ...
    @property
    def block(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Strength:
    """Strengths of one adapter, with its block weights and element rules."""

    te: float = 1.0
    unet: float = 1.0
    blocks: BlockWeights | None = None
    elements: tuple[ElementRule, ...] = ()

    def times(self, factor: float = 1.0, *, te: float = 1.0, unet: float = 1.0) -> Strength:
        """`factor * adapter(te=te, unet=unet)`, and what `--te` and `--unet` do: strengths multiply."""
        return replace(self, te=in_float32(self.te * factor * te), unet=in_float32(self.unet * factor * unet))

    def at(self, blocks: BlockWeights) -> Strength:
        """`adapter@blocks`. Raises InputError when block weights are attached already."""
        if self.blocks is not None:
            raise InputError(
                "block weights are attached twice",
                where=f"{self.blocks} and {blocks}",
                fix="keep one of them",
            )
        return replace(self, blocks=blocks)


def resolve(
    spec: AdapterUse,
    family: Family,
    *,
    block_presets: Mapping[str, str] = NO_PRESETS,
    element_presets: Mapping[str, str] = NO_PRESETS,
    missing: float | None = None,
    tokens: TokenValue | None = None,
) -> Strength:
    """The strength that a command-line adapter means on a family of models.

    `missing` is `--missing-blocks`; `tokens` gives R, U and X their values when rendering. Raises InputError.
    """
    blocks = None
    if spec.blocks is not None:
        parsed = parse_block_weights(spec.blocks, family, block_presets, tokens=tokens)
        blocks = parsed.with_missing(missing) if missing is not None else parsed
    rules = () if spec.elements is None else parse_elements(spec.elements, family, element_presets)
    return Strength(spec.te, spec.unet, blocks, rules)


def effective(strength: Strength, module: Addressed) -> float:
    """Effective strength of one module. Raises InputError for a module in a block that a list lacks."""
    s = strength.te if is_text_encoder(module.name) else strength.unet
    return in_float32(s * weight(strength, module))


def in_float32(value: float) -> float:
    """`value`; InputError where float32, in which sums are computed, does not reach so far."""
    if not abs(value) <= LARGEST:
        raise InputError(
            f"a strength is too large: {value:g}", fix="models hold numbers up to 3.4e38; write a smaller one"
        )
    return value


def weight(strength: Strength, module: Addressed) -> float:
    """The w of `effective`: element rule, else block weight, else 1."""
    rules = strength.elements
    if rules and (by_element := last_match(rules, module.name, module.block)) is not None:
        return by_element
    return 1.0 if strength.blocks is None else strength.blocks.weight_of(module.name, module.block)


def check_blocks(strength: Strength, modules: Iterable[Addressed]) -> None:
    """Raises InputError that counts the modules, by block, which the block list leaves without a weight."""
    if strength.blocks is None:
        return
    counts: Counter[str] = Counter()
    for module in modules:
        if last_match(strength.elements, module.name, module.block) is None and not strength.blocks.covers(
            module.name, module.block
        ):
            counts[block_names_of(module.name, module.block)[-1]] += 1
    if counts:
        raise missing_blocks_error(dict(sorted(counts.items())))
