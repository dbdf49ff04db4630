"""Block weights: one number per block of a model, from a list, a preset name or `IN04=0.3,OUT00=1`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from loralathe.errors import InputError, did_you_mean, option, spelling_hint
from loralathe.families import shorthand
from loralathe.strengths.blocks import (
    BlockFamily,
    block_names_of,
    canonical_block,
    known_text_encoders,
)
from loralathe.strengths.builtins import builtin_names, builtin_weights, is_foreign_stage
from loralathe.strengths.text import looks_like_number, number_text, parse_number
from loralathe.strengths.tokens import TokenValue, is_token, refuse_tokens

NO_PRESETS: Final[Mapping[str, str]] = {}
REST = "*"
REST_IS_ERROR = "error"


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """Weights by block name; `str()` is the canonical text, which parses back to an equal value.

    weights: (block, weight) in the order of the family's long list, TE1 and TE2 (on Flux BASE) first.
    rest:    weight of blocks that `weights` lacks; None makes a module in such a block an error.
    unused:  places of the list that the family does not have (a 26-list on SDXL), to be reported.
    """

    weights: tuple[tuple[str, float], ...]
    rest: float | None
    unused: tuple[str, ...] = field(default=(), compare=False)

    def covers(self, module_name: str, block: str | None) -> bool:
        """False for a module in a block that the list lacks while no rule says what such blocks weigh."""
        names = block_names_of(module_name, block)
        return not names or self.rest is not None or any(name in names for name, _ in self.weights)

    def weight_of(self, module_name: str, block: str | None) -> float:
        """One encoder (TE1, CLIP) before BASE, then the block, then the rest; 1 for modules in no block.

        Raises InputError where `covers` is false.
        """
        names = block_names_of(module_name, block)
        known = dict(self.weights)
        for name in names:
            if name in known:
                return known[name]
        if not names:
            return 1.0
        if self.rest is None:
            raise missing_blocks_error({names[-1]: 1})
        return self.rest

    def with_missing(self, weight: float | None) -> BlockWeights:
        """`--missing-blocks 0|1`: what blocks weigh that a list lacks. Says nothing about by-name weights."""
        return replace(self, rest=weight) if self.rest is None else self

    def __str__(self) -> str:
        texts = [f"{name}={number_text(weight)}" for name, weight in self.weights]
        if self.rest != 1.0 or not texts:
            texts.append(f"{REST}={REST_IS_ERROR if self.rest is None else number_text(self.rest)}")
        return ",".join(texts)


def missing_blocks_error(counts: Mapping[str, int]) -> InputError:
    """The error for modules in blocks that a list lacks; `counts` is modules per block."""
    total = sum(counts.values())
    blocks = ", ".join(f"{block} {count}" for block, count in counts.items())
    return InputError(
        f"{total} {'module is' if total == 1 else 'modules are'} in blocks that the block list lacks",
        where=blocks,
        fix=f"use the long list, or {option('missing_blocks', 0)} (as LoRA Block Weight) or 1 (as kohya)",
    )


def parse_block_weights(
    text: str,
    family: BlockFamily,
    presets: Mapping[str, str] = NO_PRESETS,
    *,
    tokens: TokenValue | None = None,
) -> BlockWeights:
    """Block weights from a preset name, a list, or the by-name form (SEMANTICS §2).

    `presets` holds the person's lists by name and wins over the built-ins; chain several sources with
    `collections.ChainMap(person, preset_file)`, the strongest first. `tokens` gives R, U and X their
    values when rendering; without it they are errors. Raises InputError.
    """
    name = text.strip()
    if name in presets:
        return _parse_values(presets[name].strip(), family, f"block weights '{name}'", tokens)
    builtin = builtin_weights(name, family)
    if builtin is not None:
        return BlockWeights(tuple(builtin.items()), rest=1.0)
    if "," in name or "=" in name:
        return _parse_values(name, family, f"block weights '{name}'", tokens)
    raise _unknown_name(name, family, presets)


def _unknown_name(name: str, family: BlockFamily, presets: Mapping[str, str]) -> InputError:
    if looks_like_number(name):
        return InputError(
            f"'{name}' is one number, not block weights",
            fix=f"*={name} gives every block that weight; a strength goes without lbw=",
        )
    if is_foreign_stage(name, family):
        some = f"{family.short_blocks[0]}=0.5,{family.short_blocks[-1]}=1,*=0"
        return InputError(
            f"there are no block weights called '{name}' on {family.label}",
            fix=f"stages (INS, MIDD, OUTALL …) are those of U-Nets; name blocks: {some}",
        )
    known = (*presets, *builtin_names(family))
    words = name.split() if all(map(looks_like_number, name.split())) else []
    return InputError(
        f"there are no block weights called '{name}'" if name else "block weights are empty",
        fix=did_you_mean(name, known)
        or (f"weights are separated by commas: {','.join(words)}" if len(words) > 1 else None)
        or spelling_hint(name)
        or f"known names: {' '.join(dict.fromkeys(known))}; "
        f"define one with {option('blocks', {'NAME': 'LIST'})}",
    )


def _parse_values(text: str, family: BlockFamily, where: str, tokens: TokenValue | None) -> BlockWeights:
    value_of = tokens or refuse_tokens(where)
    return (_parse_by_name if "=" in text else _parse_list)(text, family, where, value_of)


def _parse_list(text: str, family: BlockFamily, where: str, value_of: TokenValue) -> BlockWeights:
    items = text.split(",")
    names = _names_for_length(len(items), family, where, spelling_hint(text))
    weights = {name: _value(item, name, where, value_of) for name, item in zip(names, items, strict=True)}
    encoders = set(family.encoder_blocks.values())
    if encoders.isdisjoint(weights):  # a list that speaks of none leaves them as they are
        weights |= dict.fromkeys(encoders, 1.0)
    used = {name: weights[name] for name in family.long_blocks if name in weights}
    complete = len(used) == len(family.long_blocks)
    unused = tuple(name for name in names if name not in used)
    return BlockWeights(tuple(used.items()), rest=1.0 if complete else None, unused=unused)


def _parse_by_name(text: str, family: BlockFamily, where: str, value_of: TokenValue) -> BlockWeights:
    given: dict[str, float] = {}
    rest: float | None = 1.0
    rest_given = False
    for item in text.split(","):
        left, equals, right = item.partition("=")
        if not equals:
            raise InputError(
                f"'{item.strip()}' has no block name",
                where=where,
                fix="name every block (IN04=0.3,OUT00=1) or none (1,0,0,0.3,…)",
            )
        if left.strip() == REST:
            name, known = REST, rest_given
            rest_given = True
            rest = None if right.strip() == REST_IS_ERROR else _value(right, "the rest", where, value_of)
        else:
            name = canonical_block(left, family, where=where)
            known = name in given
            given[name] = _value(right, name, where, value_of)
        if known:
            raise InputError(f"block {name} is given twice", where=where, fix="keep one of them")
    return BlockWeights(_in_order(given, family), rest=rest)


def _in_order(given: Mapping[str, float], family: BlockFamily) -> tuple[tuple[str, float], ...]:
    order = (*known_text_encoders(family), *family.long_blocks)
    return tuple((name, given[name]) for name in order if name in given)


def _value(text: str, block: str, where: str, value_of: TokenValue) -> float:
    if is_token(text):
        return value_of(text.strip())
    return parse_number(text, f"weight of {block}", where=where)


def lists_that_fit(family: BlockFamily) -> dict[int, tuple[str, ...]]:
    """Block names by list length: the family's short and long list, then those of others that it can read."""
    lists = (family.short_blocks, family.long_blocks, *family.also_accepts)
    return {len(names): names for names in lists}


def _names_for_length(length: int, family: BlockFamily, where: str, hint: str | None) -> tuple[str, ...]:
    lists = lists_that_fit(family)
    if length in lists:
        return lists[length]
    if length == 2:
        where += ", read as two weights; a decimal has a point"
    fits = "; ".join(f"{n}: {shorthand(names)}" for n, names in lists.items())
    raise InputError(
        f"a list of {length} block weights does not fit {family.label}",
        where=where,
        fix=hint or f"lists that fit are {fits}",
    )
