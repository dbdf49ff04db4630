"""Amounts: how much of a difference goes in, one number or block by block, as merges of checkpoints have it.

A LoRA has no parts outside of blocks worth speaking of; a checkpoint has. Where a list says nothing about
a tensor, it weighs what SuperMerger gives it: a U-Net's embeddings and output layers as its first and last
block, all else (VAE) as BASE.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from loralathe.families import BASE, ENCODER_NAMES, Family
from loralathe.language.expressions import LinearExpression, method_expression
from loralathe.language.method import Same
from loralathe.strengths import BlockWeights, ElementRule, Selection, Strength


@dataclass(frozen=True)
class Amount:
    """How much of a difference goes in.

    number:   for everything, or None where `blocks` has one for each block.
    elements: rules that replace the number or the block's weight.
    """

    number: float | None
    blocks: BlockWeights | None
    family: Family
    elements: tuple[ElementRule, ...] = ()

    @property
    def plain(self) -> float | None:
        """The number, where that is all there is."""
        return self.number if not self.elements else None

    @property
    def strength(self) -> Strength:
        """The amount as a strength of 1 with weights."""
        if self.blocks is None and not self.elements:
            return Strength(_number(self), _number(self))
        # Beside rules a number is a list, too: a second one attached with @ would not count everywhere.
        blocks = self.blocks or BlockWeights((), _number(self))
        return Strength(blocks=blocks, elements=(*self._outside(blocks), *self.elements))

    def _outside(self, blocks: BlockWeights) -> Iterator[ElementRule]:
        """Rules for the tensors that are in no block."""
        no_block = Selection((*ENCODER_NAMES, BASE, *self.family.long_blocks), negated=True)
        for name, elements in {BASE: (), **self.family.denoiser.borrowed_blocks()}.items():
            weight = weight_of_block(blocks, name)
            if weight is not None:
                yield ElementRule(no_block, Selection(elements), weight)

    def times_rest_of(self, other: Amount) -> Amount:
        """self · (1 − other), block by block; neither may have element rules."""
        if self.blocks is None and other.blocks is None:
            return replace(self, number=_number(self) * (1.0 - _number(other)))
        names = {name for amount in (self, other) if amount.blocks for name, _ in amount.blocks.weights}
        weights = []
        for name in dict.fromkeys((*ENCODER_NAMES, BASE, *self.family.long_blocks)):
            if name in names:
                mine, its = self._at(name), other._at(name)
                if mine is not None and its is not None:
                    weights.append((name, mine * (1.0 - its)))
        mine, its = self._at(None), other._at(None)
        rest = None if mine is None or its is None else mine * (1.0 - its)
        return replace(self, number=None, blocks=BlockWeights(tuple(weights), rest))

    def _at(self, block: str | None) -> float | None:
        if self.blocks is None:
            return self.number
        return self.blocks.rest if block is None else weight_of_block(self.blocks, block)


def weighed(expression: LinearExpression, amount: Amount) -> LinearExpression:
    """amount × a delta, in plain terms; what has block weights already is computed first."""
    if amount.plain is not None:
        return expression.scaled(amount.plain)
    weights = amount.strength
    if any(term.strength.blocks is not None or term.strength.elements for term in expression.terms):
        expression = method_expression(Same(), expression)
    return LinearExpression(
        tuple(
            replace(
                term,
                strength=replace(term.strength, blocks=weights.blocks, elements=weights.elements),
            )
            for term in expression.terms
        )
    )


def weight_of_block(blocks: BlockWeights, name: str) -> float | None:
    """A block's weight, TE1 and TE2 by BASE where they have none; None where the list says nothing."""
    known = dict(blocks.weights)
    if name in known:
        return known[name]
    return known.get(BASE, blocks.rest) if name in ENCODER_NAMES else blocks.rest


def _number(amount: Amount) -> float:
    return 1.0 if amount.number is None else amount.number
