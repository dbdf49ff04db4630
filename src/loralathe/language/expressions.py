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

from loralathe.errors import InputError
from loralathe.language.extract_options import ExtractOptions
from loralathe.language.method import Method
from loralathe.strengths import Strength

TOLERANCE = 1e-6
"""A sum of checkpoint coefficients this close to 1 is weights, to 0 a delta (docs/semantics.md §3)."""

CHANGE_SCRATCH = 10
"""Bands that the temporaries of an adapter take whose kind depends on the weights."""

MOST_TERMS = 2000
"""Terms of one value, those inside its leaves counted wherever they stand. Steps that double pass it soon."""

MOST_NESTED = 50
"""Leaves of a value inside each other, such as fp16(fp16(…))."""

CANCELLED = 1e-12
"""Coefficients whose sum is this small beside its terms cancel exactly in decimal arithmetic."""


@dataclass(frozen=True)
class CheckpointLeaf:
    """The weights of an input checkpoint."""

    name: str


class _HashedOnce:
    """Expressions nest deeply and are looked up for every tensor, so their hash is computed once."""

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, item.name) for item in fields(self)))  # type: ignore[arg-type]

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True)
class AdapterLeaf(_HashedOnce):
    """The delta of an input adapter at strength 1.

    weights: what it changes, where its kind depends on that (DoRA); then its value is a whole tensor.
    """

    name: str
    weights: LinearExpression | None = None

    __hash__ = _HashedOnce.__hash__

    @property
    def scratch(self) -> int:
        """How many bands its temporaries take, for the memory plan."""
        return 0 if self.weights is None else CHANGE_SCRATCH


@dataclass(frozen=True)
class ExtractLeaf(_HashedOnce):
    """The low-rank approximation of a delta, module by module."""

    expression: LinearExpression
    options: ExtractOptions

    __hash__ = _HashedOnce.__hash__

    @cached_property
    def unrounded(self) -> ExtractLeaf:
        """The extraction itself, shared by its roundings."""
        if self.options.round_to is None:
            return self
        return ExtractLeaf(self.expression, replace(self.options, round_to=None))


@dataclass(frozen=True)
class RoundLeaf(_HashedOnce):
    """Weights rounded as a saved file would be."""

    expression: LinearExpression
    dtype: str

    __hash__ = _HashedOnce.__hash__


@dataclass(frozen=True)
class MethodLeaf(_HashedOnce):
    """What a merge method makes of its arguments, tensor by tensor; weights of one model, or a delta."""

    method: Method
    arguments: tuple[LinearExpression, ...]
    is_weights: bool

    __hash__ = _HashedOnce.__hash__

    @property
    def scratch(self) -> int:
        return self.method.scratch


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

    __hash__ = _HashedOnce.__hash__

    def __add__(self, other: LinearExpression) -> LinearExpression:
        return LinearExpression(self.terms + other.terms)

    def __sub__(self, other: LinearExpression) -> LinearExpression:
        return self + other.scaled(-1.0)

    def scaled(self, factor: float) -> LinearExpression:
        return LinearExpression(
            tuple(replace(term, strength=term.strength.times(factor)) for term in self.terms)
        )

    @cached_property
    def size(self) -> int:
        """How many terms it has, those inside its leaves too, each as often as it stands there."""
        return sum(1 + sum(inner.size for inner in inner_expressions(term.leaf)) for term in self.terms)

    @cached_property
    def depth(self) -> int:
        """How many leaves stand inside each other."""
        inside = (inner.depth for term in self.terms for inner in inner_expressions(term.leaf))
        return 1 + max(inside, default=0)

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

        Those inside the deltas of methods and adapters come last.
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
        deltas = (term.leaf for term in self.terms if isinstance(term.leaf, (AdapterLeaf, MethodLeaf)))
        inner = [expression for leaf in deltas for expression in inner_expressions(leaf)]
        return next(
            (expression.primary for expression in rounded + inner if expression.primary is not None), None
        )

    @cached_property
    def level(self) -> int:
        """How many extractions, one inside the other, must be done before this expression."""
        inside = ((term.leaf, inner) for term in self.terms for inner in inner_expressions(term.leaf))
        return max((inner.level + isinstance(leaf, ExtractLeaf) for leaf, inner in inside), default=0)

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """All leaves, those inside extractions, roundings and methods too: each once, inner ones first."""
        return tuple(dict.fromkeys(term.leaf for term in all_terms(self)))

    @cached_property
    def checkpoints(self) -> tuple[str, ...]:
        """Names of all checkpoints among the leaves."""
        return tuple(leaf.name for leaf in self.leaves if isinstance(leaf, CheckpointLeaf))

    @cached_property
    def adapters(self) -> tuple[str, ...]:
        """Names of all adapters among the leaves."""
        return tuple(dict.fromkeys(leaf.name for leaf in self.leaves if isinstance(leaf, AdapterLeaf)))


def plain_expression(checkpoint: str) -> LinearExpression:
    """A checkpoint's own weights and nothing else."""
    return LinearExpression((Term(CheckpointLeaf(checkpoint), Strength()),))


def method_expression(
    method: Method, *arguments: LinearExpression, is_weights: bool = False
) -> LinearExpression:
    """What a method makes of its arguments, as a value."""
    return LinearExpression((Term(MethodLeaf(method, arguments, is_weights), Strength()),))


def weight_of(leaf: Leaf) -> float:
    """How many models' worth of weights a leaf holds."""
    if isinstance(leaf, CheckpointLeaf):
        return 1.0
    if isinstance(leaf, RoundLeaf):
        return leaf.expression.checkpoint_sum
    return 1.0 if isinstance(leaf, MethodLeaf) and leaf.is_weights else 0.0


def inner_expressions(leaf: Leaf) -> tuple[LinearExpression, ...]:
    """The expressions that a leaf is made of, none for an input."""
    if isinstance(leaf, MethodLeaf):
        return leaf.arguments
    if isinstance(leaf, AdapterLeaf):
        return () if leaf.weights is None else (leaf.weights,)
    return (leaf.expression,) if isinstance(leaf, (ExtractLeaf, RoundLeaf)) else ()


def settle(parts: list[float]) -> float:
    """Sum of coefficients; what cancels in decimal arithmetic is exactly 0, and exactly 1 stays 1."""
    total = math.fsum(parts)
    if abs(total) <= CANCELLED * math.fsum(abs(part) for part in parts):
        return 0.0
    if abs(total - 1.0) <= CANCELLED:
        return 1.0
    return total


def all_terms(expression: LinearExpression) -> Iterator[Term]:
    """All terms of an expression, those inside its leaves too, inner ones first."""
    for term in expression.terms:
        for inner in inner_expressions(term.leaf):
            yield from all_terms(inner)
        yield term


def single_leaf(expression: LinearExpression) -> Leaf | None:
    """The leaf of an expression that is one leaf at strength 1 without block weights, else None."""
    if len(expression.terms) == 1 and expression.terms[0].strength == Strength():
        return expression.terms[0].leaf
    return None


def checkpoint_terms(expression: LinearExpression, factor: float = 1.0) -> Iterator[tuple[str, Strength]]:
    """Checkpoints of an expression with their strengths, those in roundings and methods' weights too."""
    for term in expression.terms:
        strength = term.strength.times(factor)
        if isinstance(term.leaf, CheckpointLeaf):
            yield term.leaf.name, strength
        elif isinstance(term.leaf, RoundLeaf):
            yield from checkpoint_terms(term.leaf.expression, strength.unet)
        elif isinstance(term.leaf, MethodLeaf) and term.leaf.is_weights:
            yield from checkpoint_terms(term.leaf.arguments[0], strength.unet)


def describe(expression: LinearExpression) -> str:
    """What a value is, in words for errors: "weights", "a delta", "2 models' worth of weights"."""
    if expression.is_weights:
        return "weights"
    if expression.is_delta:
        return "a delta"
    return f"{expression.checkpoint_sum:g} models' worth of weights"


def require_weights(expression: LinearExpression, what: str, where: str) -> None:
    """InputError unless `expression` is weights, saying what was probably meant."""
    if expression.is_weights:
        return
    if expression.is_delta:
        fix = "a delta becomes an adapter with extract(…, rank=64), or weights when added to a checkpoint"
    else:
        fix = "weights must add up to one model: 0.5*A + 0.5*B, or A + (B - C)"
    raise InputError(f"{what} is {describe(expression)}", where=where, fix=fix)
