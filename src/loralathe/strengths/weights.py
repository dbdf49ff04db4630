"""Block weights: one number per block of a model, from a list, a preset's name or `IN04=0.3,OUT00=1`.

`read_block_text` reads what a person wrote and keeps the weights as text, so that parts of a list can be
replaced while tokens (R, U, X) stay; `parse_block_weights` makes numbers of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from loralathe.errors import InputError, counted, option, spelling_hint, visible
from loralathe.families import ENCODER_NAMES, FAMILIES, Family, block_lists, shorthand
from loralathe.strengths.blocks import block_names_of, canonical_block, known_text_encoders, lists_that_fit
from loralathe.strengths.presets import NO_PRESETS, find_preset, preset_blocks, unknown_preset
from loralathe.strengths.text import looks_like_number, number_text, parse_number, show_number
from loralathe.strengths.tokens import TokenValue, is_token, refuse_tokens

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
        f"{counted(total, 'module is', 'modules are')} in blocks that the block list lacks",
        where=blocks,
        fix=f"use the long list, or {option('missing_blocks', 0)} (as LoRA Block Weight) or 1 (as kohya)",
    )


@dataclass(frozen=True, slots=True)
class BlockText:
    """Block weights as text: a whole list (`names` in its order), or by name, `*` for the rest."""

    names: tuple[str, ...] | None
    values: tuple[tuple[str, str], ...]

    @property
    def rest(self) -> str:
        return dict(self.values).get(REST, "1")

    def replaced(self, blocks: Iterable[str], value: float) -> BlockText:
        """The same weights with `value` at `blocks`."""
        shown = show_number(value)
        new = dict(self.values)
        for block in blocks:
            if self.names is not None and block not in self.names:
                raise InputError(
                    f"block {block} is not in the list of {len(self.names)} that it should change",
                    where=" ".join(self.names),
                    fix=f"give a list that has {block}, or name the blocks: {block}={shown}",
                )
            new[block] = shown
        return replace(self, values=tuple(new.items()))

    def complement(self) -> BlockText:
        """1 − weight for every number; tokens stay (LoRA Block Weight's ZYX)."""
        values = dict(self.values) if self.names is not None else {REST: "1", **dict(self.values)}
        return replace(self, values=tuple((name, _one_minus(value)) for name, value in values.items()))

    def text(self) -> str | None:
        """As it is written in a tag; None when it changes nothing."""
        values = dict(self.values)
        if self.names is not None:
            return ",".join(_shown(values[name]) for name in self.names)
        rest = values.pop(REST, "1")
        entries = [f"{n}={value}" for n, value in values.items() if value != rest or n in ENCODER_NAMES]
        if rest != "1":
            entries.insert(0, f"{REST}={rest}")
        return ",".join(entries) or None

    def numbers(self, family: Family, where: str, tokens: TokenValue | None = None) -> BlockWeights:
        """The weights that the text means; `tokens` gives R, U and X their values. Raises InputError."""
        value_of = tokens or refuse_tokens(where)
        rest: float | None = 1.0
        weights: dict[str, float] = {}
        for name, text in self.values:  # in order: tokens may be drawn from a generator
            if name == REST:
                rest = None if text == REST_IS_ERROR else _number(text, "the rest", where, value_of)
            else:
                weights[name] = _number(text, name, where, value_of)
        if self.names is None:
            order = (*known_text_encoders(family), *family.long_blocks)
            return BlockWeights(tuple((name, weights[name]) for name in order if name in weights), rest=rest)
        encoders = set(family.encoder_blocks.values())
        if encoders.isdisjoint(weights):  # a list that speaks of none leaves them as they are
            weights |= dict.fromkeys(encoders, 1.0)
        used = {name: weights[name] for name in family.long_blocks if name in weights}
        complete = len(used) == len(family.long_blocks)
        unused = tuple(name for name in self.names if name not in used)
        return BlockWeights(tuple(used.items()), rest=1.0 if complete else None, unused=unused)


def _number(text: str, block: str, where: str, value_of: TokenValue) -> float:
    return value_of(text) if is_token(text) else parse_number(text, f"weight of {block}", where=where)


def _shown(value: str) -> str:
    return show_number(parse_number(value)) if looks_like_number(value) else value


def _one_minus(value: str) -> str:
    return show_number(1 - parse_number(value)) if looks_like_number(value) else value


def parse_block_weights(
    text: str, family: Family, presets: Mapping[str, str] = NO_PRESETS, *, tokens: TokenValue | None = None
) -> BlockWeights:
    """Block weights from a preset's name, a list, or the by-name form (SEMANTICS §2).

    `presets` holds the person's lists by name and wins over the built-ins; chain several sources with
    `collections.ChainMap(person, preset_file)`, the strongest first. `tokens` gives R, U and X their
    values when rendering; without it they are errors. Raises InputError.
    """
    if not text.strip():
        raise unknown_preset("", family, presets)
    where = f"block weights '{text.strip()}'"
    return read_block_text(text, family, presets).numbers(family, where, tokens)


def read_block_text(text: str | None, family: Family, presets: Mapping[str, str] = NO_PRESETS) -> BlockText:
    """What `parse_block_weights` reads, with weights still as text; None and "" weigh every block 1."""
    if not text or not text.strip():
        return BlockText(None, ())
    written = visible(text).strip()
    where = f"block weights '{written}'"
    name = find_preset(written, family, presets)
    if name is not None and name not in presets:
        return BlockText(None, preset_blocks(name, family))
    source = visible(presets[name]).strip() if name is not None else written
    if name is None and "," not in source and "=" not in source:
        raise unknown_preset(source, family, presets)
    return (_read_by_name if "=" in source else _read_list)(source, family, where)


def _read_list(text: str, family: Family, where: str) -> BlockText:
    items = text.split(",")
    lists = lists_that_fit(family)
    if len(items) not in lists:
        place = where + ", read as two weights; a decimal has a point" if len(items) == 2 else where
        fits = "; ".join(f"{n}: {shorthand(names)}" for n, names in lists.items())
        raise InputError(
            f"a list of {len(items)} block weights does not fit {family.label}",
            where=place,
            fix=spelling_hint(text) or f"{_by_name(items, family)}lists that fit are {fits}",
            about="adapters",
        )
    names = lists[len(items)]
    values = tuple((name, _checked(item, name, where)) for name, item in zip(names, items, strict=True))
    return BlockText(names, values)


def _by_name(items: Sequence[str], family: Family) -> str:
    """How another family's list is written for this one: each weight at the block of its name."""
    owner = next(
        (one for one in FAMILIES if len(items) in (len(one.short_blocks), len(one.long_blocks))), None
    )
    if owner is None:
        return ""
    given = dict(zip(block_lists()[len(items)], (item.strip() for item in items), strict=True))
    shared = ",".join(f"{name}={text}" for name, text in given.items() if name in family.long_blocks)
    if not shared:
        return ""
    lost = tuple(name for name in given if name not in family.long_blocks)
    others = tuple(name for name in family.long_blocks if name not in given)
    notes = [f"{family.label} has no {shorthand(lost)}"] if lost else []
    notes += [f"{shorthand(others)} weigh 1"] if others else []
    return f'by the block names of {owner.label} it is "{shared}" ({"; ".join(notes)}); '


def _read_by_name(text: str, family: Family, where: str) -> BlockText:
    found: dict[str, str] = {}
    for item in text.split(","):
        left, equals, right = (part.strip() for part in item.partition("="))
        if not equals:
            raise InputError(
                f"'{item.strip()}' has no block name",
                where=where,
                fix="name every block (IN04=0.3,OUT00=1) or none (1,0,0,0.3,…)",
            )
        name = REST if left == REST else canonical_block(left, family, where=where)
        if name in found:
            raise InputError(f"block {name} is given twice", where=where, fix="keep one of them")
        is_error = name == REST and right == REST_IS_ERROR
        found[name] = right if is_error else _checked(right, "the rest" if name == REST else name, where)
    return BlockText(None, tuple(found.items()))


def _checked(text: str, block: str, where: str) -> str:
    """A weight or a token as it was written; InputError for anything else."""
    if not is_token(text):
        parse_number(text, f"weight of {block}", where=where)
    return text.strip()
