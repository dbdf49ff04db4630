"""Typed values: every expression of the language is a sum of leaves, each with a strength.

Keeping values in this normal form is what makes algebra free: `(A + 0.7*hina) - A` has the
coefficient 1 - 1 = 0 at A, so A is never read. A step is a `LinearExpression`; nothing is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Union

from loralathe.language.methods.method import Method
from loralathe.language.rankrules import Budget, Rule
from loralathe.strengths import Strength

TOLERANCE = 1e-6
"""A sum of checkpoint coefficients this close to 1 is weights, to 0 a delta (docs/semantics.md §3)."""

DEFAULT_RANK = 64

CANCELLED = 1e-12
"""Coefficients whose sum is this small beside its terms cancel exactly in decimal arithmetic."""


@dataclass(frozen=True)
class CheckpointLeaf:
    """The weights of an input checkpoint."""

    name: str


@dataclass(frozen=True)
class AdapterLeaf:
    """The delta of an input adapter at strength 1."""

    name: str


@dataclass(frozen=True)
class ExtractOptions:
    """How a delta is cut to low rank; see docs/semantics.md §6.

    rank, conv_rank: of a layer and of a k×k convolution; the most they may get where a rule or a budget
              chooses; None: no limit but their size.
    conv:     resnets and samplers are in scope without a number of their own.
    rule, conv_rule: how each module chooses its rank;  budget: what all modules share.
    joined:   factors of adapters side by side, nothing decomposed;  everything: whatever modules they hold.
    min_diff: a module in which no number differs by more is left out.
    te1, te2, te3: True keeps an encoder whatever its evidence, False drops it, None decides by the noise
              floor. (te3 is T5.)
    round_to: safetensors dtype to which the factors are rounded before later steps use them, or None.
    """

    rank: int | None = DEFAULT_RANK
    conv_rank: int | None = None
    conv: bool = False
    rule: Rule | None = None
    conv_rule: Rule | None = None
    budget: Budget | None = None
    joined: bool = False
    everything: bool = False
    min_diff: float = 0.0
    exact: bool = False
    pad_ranks: bool = False
    keep_noise: bool = False
    te1: bool | None = None
    te2: bool | None = None
    te3: bool | None = None
    round_to: str | None = None

    @property
    def with_conv(self) -> bool:
        """Whether resnets and samplers are in scope."""
        return self.conv or self.conv_rank is not None or self.conv_rule is not None

    def encoder(self, component: str) -> bool | None:
        """What was asked for a text encoder; None for other components."""
        return {"te1": self.te1, "te2": self.te2, "te3": self.te3}.get(component)

    @property
    def is_fixed(self) -> bool:
        """Whether every module gets the rank asked for, as far as it can."""
        return self.rank is not None and not (self.rule or self.conv_rule or self.budget or self.joined)

    def cap(self, kernel: bool) -> int | None:
        """The rank asked for, or the most allowed: as kohya, `conv_rank` for k×k kernels and no others."""
        return self.conv_rank if kernel and self.conv_rank is not None else self.rank

    def rule_for(self, kernel: bool) -> Rule | None:
        return self.conv_rule if kernel and self.conv_rule is not None else self.rule


class _HashedOnce:
    """Forms nest deeply and are looked up for every tensor, so their hash is computed once."""

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, item.name) for item in fields(self)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class ExtractLeaf(_HashedOnce):
    """The low-rank approximation of a delta, module by module."""

    expression: LinearExpression
    options: ExtractOptions

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def unrounded(self) -> ExtractLeaf:
        """The extraction itself, shared by its rounded forms."""
        if self.options.round_to is None:
            return self
        return ExtractLeaf(self.expression, replace(self.options, round_to=None))


@dataclass(frozen=True)
class RoundLeaf(_HashedOnce):
    """Weights rounded as a saved file would be."""

    expression: LinearExpression
    dtype: str

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True)
class MethodLeaf(_HashedOnce):
    """What a merge method makes of its arguments, tensor by tensor; weights of one model, or a delta."""

    method: Method
    arguments: tuple[LinearExpression, ...]
    is_weights: bool

    def __hash__(self) -> int:
        return self._hash


Leaf = Union[CheckpointLeaf, AdapterLeaf, ExtractLeaf, RoundLeaf, MethodLeaf]  # noqa: UP007 -- forward names


@dataclass(frozen=True)
class Term:
    """`strength × leaf`; for checkpoints te == unet, and block weights may be attached to both kinds."""

    leaf: Leaf
    strength: Strength


@dataclass(frozen=True)
class LinearExpression(_HashedOnce):
    """A sum of terms in the order they were written."""

    terms: tuple[Term, ...]

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: LinearExpression) -> LinearExpression:
        return LinearExpression(self.terms + other.terms)

    def scaled(self, factor: float) -> LinearExpression:
        return LinearExpression(
            tuple(replace(term, strength=term.strength.times(factor)) for term in self.terms)
        )

    @cached_property
    def checkpoint_sum(self) -> float:
        """Sum of the coefficients of whole sets of weights: 1 is weights, 0 is a delta."""
        return math.fsum(term.strength.unet * weight_of(term.leaf) for term in self.terms)

    @property
    def is_weights(self) -> bool:
        return abs(self.checkpoint_sum - 1.0) < TOLERANCE

    @property
    def is_delta(self) -> bool:
        return abs(self.checkpoint_sum) < TOLERANCE

    @cached_property
    def primary(self) -> str | None:
        """The checkpoint that gives an output its keys: the first whose coefficient does not cancel.

        Those inside the deltas that methods make come last.
        """
        parts: dict[str, list[float]] = {}
        weighted: set[str] = set()
        for name, strength in checkpoint_terms(self):
            parts.setdefault(name, []).append(strength.unet)
            if strength.blocks is not None:
                weighted.add(name)
        for name, factors in parts.items():
            if settle(factors) != 0.0 or name in weighted:
                return name
        # fp16(A + lora) - A: the sum over A is 0, but what was rounded does not cancel what was not.
        rounded = [term.leaf.expression for term in self.terms if isinstance(term.leaf, RoundLeaf)]
        methods = (term.leaf for term in self.terms if isinstance(term.leaf, MethodLeaf))
        inner = [argument for leaf in methods for argument in leaf.arguments]
        return next(
            (expression.primary for expression in rounded + inner if expression.primary is not None), None
        )

    @cached_property
    def level(self) -> int:
        """How many extractions, one inside the other, must be done before this form."""
        return max((level_of(term.leaf) for term in self.terms), default=0)

    @cached_property
    def leaves(self) -> frozenset[Leaf]:
        """All leaves, those inside extractions, roundings and methods too."""
        return frozenset(walk(self))


def plain_form(checkpoint: str) -> LinearExpression:
    """A checkpoint's own weights and nothing else."""
    return LinearExpression((Term(CheckpointLeaf(checkpoint), Strength()),))


def weight_of(leaf: Leaf) -> float:
    """How many models' worth of weights a leaf holds."""
    if isinstance(leaf, CheckpointLeaf):
        return 1.0
    if isinstance(leaf, RoundLeaf):
        return leaf.expression.checkpoint_sum
    return 1.0 if isinstance(leaf, MethodLeaf) and leaf.is_weights else 0.0


def level_of(leaf: Leaf) -> int:
    """The level of a leaf: an extraction counts itself."""
    if isinstance(leaf, ExtractLeaf):
        return leaf.expression.level + 1
    return max((expression.level for expression in inner_expressions(leaf)), default=0)


def inner_expressions(leaf: Leaf) -> tuple[LinearExpression, ...]:
    """The forms that a leaf is made of, none for an input."""
    if isinstance(leaf, MethodLeaf):
        return leaf.arguments
    return (leaf.expression,) if isinstance(leaf, (ExtractLeaf, RoundLeaf)) else ()


def settle(parts: list[float]) -> float:
    """Sum of coefficients; what cancels in decimal arithmetic is exactly 0, and exactly 1 stays 1."""
    total = math.fsum(parts)
    if abs(total) <= CANCELLED * math.fsum(abs(part) for part in parts):
        return 0.0
    if abs(total - 1.0) <= CANCELLED:
        return 1.0
    return total


def walk(expression: LinearExpression) -> Iterator[Leaf]:
    """All leaves of a form, those inside extractions, roundings and methods too, inner ones first."""
    for term in expression.terms:
        for inner in inner_expressions(term.leaf):
            yield from walk(inner)
        yield term.leaf


def all_terms(expression: LinearExpression) -> Iterator[Term]:
    """All terms of a form, those inside its leaves too, inner ones first."""
    for term in expression.terms:
        for inner in inner_expressions(term.leaf):
            yield from all_terms(inner)
        yield term


def single_leaf(expression: LinearExpression) -> Leaf | None:
    """The leaf of a form that is one leaf at strength 1 without block weights, else None."""
    if len(expression.terms) == 1 and expression.terms[0].strength == Strength():
        return expression.terms[0].leaf
    return None


def checkpoint_terms(expression: LinearExpression, factor: float = 1.0) -> Iterator[tuple[str, Strength]]:
    """Checkpoints of a form with their strengths, those inside roundings and in methods' weights too."""
    for term in expression.terms:
        strength = term.strength.times(factor)
        if isinstance(term.leaf, CheckpointLeaf):
            yield term.leaf.name, strength
        elif isinstance(term.leaf, RoundLeaf):
            yield from checkpoint_terms(term.leaf.expression, strength.unet)
        elif isinstance(term.leaf, MethodLeaf) and term.leaf.is_weights:
            yield from checkpoint_terms(term.leaf.arguments[0], strength.unet)
