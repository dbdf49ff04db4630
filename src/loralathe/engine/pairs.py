"""Checkpoints of one formula against each other: which tensors take part, and what is said of the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loralathe.engine.options import RunOptions
from loralathe.engine.slices import in_scope, modules_by_key, unit_of_key
from loralathe.engine.sources import CheckpointSource, Sources
from loralathe.errors import InputError, counted, few, option
from loralathe.families import component_name
from loralathe.language import (
    CheckpointLeaf,
    ExtractLeaf,
    ExtractOptions,
    LinearExpression,
    inner_expressions,
)


@dataclass(frozen=True)
class Pair:
    """The checkpoint that gives a formula its keys, and another one of the formula.

    extraction: the options of the extraction that they stand in; only what it touches has to match then.
    """

    primary: CheckpointSource
    other: CheckpointSource
    extraction: ExtractOptions | None

    def touched(self, source: CheckpointSource) -> set[str]:
        """The keys of one of the two that have to match."""
        if self.extraction is None:
            return set(source.tensors)
        family = source.detected.family
        return {
            key
            for key, modules in modules_by_key(source.modules).items()
            for row_slice in unit_of_key(key, source.tensors[key].shape, modules, family).slices
            if in_scope(row_slice, self.extraction)
        }

    def unlike(self) -> Iterator[str]:
        """Keys of both whose shapes do not go together; no rule keeps them from being added."""
        family = self.primary.detected.family
        for key, info in self.primary.tensors.items():
            there = key in self.other.tensors and family.rule_for_key(key) is None
            if there and not self.other.takes_part(key, info.shape):
                yield key

    def extra(self) -> Iterator[str]:
        """Keys that only the other one has, and that no rule explains; whole components may be missing."""
        family = self.primary.detected.family
        components = {family.component_of_key(key) for key in self.primary.tensors}
        for key in self.other.tensors:
            component = family.component_of_key(key)
            there = key in self.primary.tensors or family.rule_for_key(key) is not None
            if not there and (component is None or component in components):
                yield key


def pairs(expression: LinearExpression, sources: Sources) -> Iterator[Pair]:
    """All pairs of an expression, those inside its extractions first: they have keys of their own."""
    for leaf in expression.leaves:
        if isinstance(leaf, ExtractLeaf):
            yield from _pairs(leaf.expression, sources, leaf.options)
    yield from _pairs(expression, sources, None)


def _pairs(
    expression: LinearExpression, sources: Sources, extraction: ExtractOptions | None
) -> Iterator[Pair]:
    if expression.primary is not None:
        primary = sources.checkpoints[expression.primary]
        for name, inside in dict.fromkeys(_named(expression, extraction)):
            if name != expression.primary:
                yield Pair(primary, sources.checkpoints[name], inside)


def _named(
    expression: LinearExpression, extraction: ExtractOptions | None
) -> Iterator[tuple[str, ExtractOptions | None]]:
    """Checkpoints, each with the extraction whose factors are all that is used of it."""
    for term in expression.terms:
        if isinstance(term.leaf, CheckpointLeaf):
            yield term.leaf.name, extraction
        inside = term.leaf.options if isinstance(term.leaf, ExtractLeaf) else extraction
        for inner in inner_expressions(term.leaf):
            yield from _named(inner, inside)


def check_checkpoints(expression: LinearExpression, sources: Sources, options: RunOptions) -> None:
    """Compare every checkpoint of an expression with the one that gives the keys; InputError on a misfit."""
    for pair in pairs(expression, sources):
        touched = pair.touched(pair.primary)
        unlike = [key for key in pair.unlike() if key in touched]
        if unlike and not (options.allow_unmatched and _mostly_alike(pair)):
            raise _other_shapes(pair, unlike)
        if not options.allow_unmatched:
            _check_extra_keys(pair)


def _mostly_alike(pair: Pair) -> bool:
    """Whether the two are of one size, so that a few odd tensors can be left out."""
    common = pair.primary.tensors.keys() & pair.other.tensors.keys()
    return 2 * len(list(pair.unlike())) < len(common)


def _other_shapes(pair: Pair, keys: list[str]) -> InputError:
    primary, other = pair.primary, pair.other
    entry = primary.detected.family.entry_key
    if entry in keys and primary.takes_part(entry, other.tensors[entry].shape):
        return InputError(
            f"'{other.name}' takes {other.detected.in_channels} input channels, "
            f"'{primary.name}' only {primary.detected.in_channels}",
            where=f"{other.path.name} is {other.detected.variant}, "
            f"{primary.path.name} is {primary.detected.variant}",
            fix=f"put '{other.name}' first: the result is then {other.detected.variant}, too",
        )
    shapes = [list(source.tensors[keys[0]].shape) for source in (primary, other)]
    more = f", and so {'have' if keys[2:] else 'has'} {counted(len(keys) - 1, 'other')}" if keys[1:] else ""
    fix = "the two models have different structure and cannot be combined"
    if _mostly_alike(pair):
        fix = f"{option('allow_unmatched', True)} takes such tensors from '{primary.name}'"
    return InputError(
        f"the tensor '{keys[0]}' has different shapes{more}",
        where=f"{primary.path.name}: {shapes[0]}, {other.path.name}: {shapes[1]}",
        fix=fix,
    )


def _check_extra_keys(pair: Pair) -> None:
    """Keys only in `other`: named rules and whole components may be ignored, the rest is an error."""
    touched = pair.touched(pair.other)
    unexplained = [key for key in pair.extra() if key in touched]
    if unexplained:
        raise InputError(
            f"{counted(len(unexplained), 'tensor')} of '{pair.other.name}' "
            f"{'has' if len(unexplained) == 1 else 'have'} no counterpart in '{pair.primary.name}'",
            where=f"{pair.other.path.name}: {few(unexplained)}",
            fix="check that both are the models you meant; "
            f"{option('allow_unmatched', True)} leaves these tensors out",
        )


def not_compared(expression: LinearExpression, sources: Sources) -> Iterator[str]:
    """What the checkpoints of an extraction do not share, in words.

    Nothing is compared there, which the report alone could not tell from models that are equal there.
    """
    for leaf in expression.leaves:
        if isinstance(leaf, ExtractLeaf):
            for pair in _pairs(leaf.expression, sources, leaf.options):
                yield from _missing_components(pair.primary, pair.other)
                yield from _missing_components(pair.other, pair.primary)
                yield from _outside(pair)


def _missing_components(poor: CheckpointSource, rich: CheckpointSource) -> Iterator[str]:
    family, has = rich.detected.family, poor.detected.components
    lacks = [component_name(id, family) for id in rich.detected.components if id not in has]
    if lacks:
        yield (
            f"'{poor.name}' ({poor.path.name}) has no {' and no '.join(lacks)}: "
            f"what '{rich.name}' has there is not compared and not extracted"
        )


def _outside(pair: Pair) -> Iterator[str]:
    """Tensors outside of the LoRA that the two do not share."""
    swapped = Pair(pair.other, pair.primary, pair.extraction)
    keys = [*pair.unlike(), *pair.extra(), *swapped.extra()]
    if keys:
        yield (
            f"{counted(len(keys), 'tensor')} of '{pair.primary.name}' and '{pair.other.name}' "
            f"{'is' if len(keys) == 1 else 'are'} not alike in both, and not compared: {few(keys)}"
        )


def channel_notes(expression: LinearExpression, sources: Sources) -> Iterator[str]:
    """Which models and adapters have fewer input channels than the model that they are added to."""
    if expression.primary is None:
        return
    primary = sources.checkpoints[expression.primary]
    family, wide = primary.detected.family, primary.detected.in_channels
    named = (sources.checkpoints[name] for name in expression.checkpoints)
    fewer = {source.name: source.detected.in_channels for source in named}
    for name in expression.adapters:
        module = sources.adapters[name].modules.get(family.entry_module)
        if module is not None:
            fewer[name] = module.shape[1]
    for name, count in fewer.items():
        if count < wide:
            yield (
                f"'{name}' is for {count} input channels, '{primary.name}' has {wide}: "
                f"the first {count} take part"
            )
