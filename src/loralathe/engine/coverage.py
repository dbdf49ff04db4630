"""Does everything match? Keys of checkpoints against each other, modules of adapters against bases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loralathe.adapters import AdapterModule, check_against, require_fit
from loralathe.engine.options import RunOptions
from loralathe.engine.sources import CheckpointSource, Sources
from loralathe.errors import InputError, counted, few, option
from loralathe.families import component_name
from loralathe.language import AdapterLeaf, ExtractLeaf, LinearExpression, all_terms
from loralathe.strengths import Strength, check_blocks, effective


@dataclass(frozen=True)
class AdapterCoverage:
    """What became of an adapter's modules."""

    used: int
    zero_strength: int
    unmatched: tuple[str, ...]


def check_checkpoints(expression: LinearExpression, sources: Sources, options: RunOptions) -> None:
    """Compare every checkpoint of an expression with the one that gives the keys; InputError on a misfit.

    What is extracted inside it has keys of its own.
    """
    inside = (leaf.expression for leaf in expression.leaves if isinstance(leaf, ExtractLeaf))
    for part in (*inside, expression):
        for primary, other in _pairs(part, sources):
            _check_shapes(primary, other, extracting=part is not expression)
            if not options.allow_unmatched:
                _check_extra_keys(primary, other)


def _pairs(
    expression: LinearExpression, sources: Sources
) -> Iterator[tuple[CheckpointSource, CheckpointSource]]:
    """The checkpoint that gives an expression its keys, with each of the others."""
    for name in expression.checkpoints:
        if expression.primary is not None and name != expression.primary:
            yield sources.checkpoints[expression.primary], sources.checkpoints[name]


def missing_components(expression: LinearExpression, sources: Sources) -> Iterator[str]:
    """Networks that one checkpoint of an extraction has and another lacks, in words.

    Nothing is compared there, which the report alone could not tell from models that are equal there.
    """
    for leaf in expression.leaves:
        if isinstance(leaf, ExtractLeaf):
            for pair in _pairs(leaf.expression, sources):
                for poor, rich in (pair, pair[::-1]):
                    has = poor.detected.components
                    family = rich.detected.family
                    lacks = [component_name(id, family) for id in rich.detected.components if id not in has]
                    if lacks:
                        yield (
                            f"'{poor.name}' ({poor.path.name}) has no {' and no '.join(lacks)}: "
                            f"what '{rich.name}' has there is not compared and not extracted"
                        )


def _check_shapes(primary: CheckpointSource, other: CheckpointSource, *, extracting: bool) -> None:
    family = primary.detected.family
    for key, info in other.tensors.items():
        mine = primary.tensors.get(key)
        if mine is None or mine.shape == info.shape or family.rule_for_key(key) is not None:
            continue
        if key.endswith("input_blocks.0.0.weight") and len(info.shape) == len(mine.shape) == 4:
            wider, narrower = mine.shape[1], info.shape[1]
            if mine.shape[0] == info.shape[0] and mine.shape[2:] == info.shape[2:]:
                if wider > narrower:
                    continue
                raise InputError(
                    f"'{other.name}' takes {narrower} input channels, '{primary.name}' only {wider}",
                    where=f"{other.path.name} is {other.detected.variant}, "
                    f"{primary.path.name} is {primary.detected.variant}",
                    fix=f"subtract the model that '{primary.name}' was made from: it takes {wider}, too"
                    if extracting
                    else "put the inpainting or instruct-pix2pix model first; the result is then one, too",
                )
        raise InputError(
            f"the tensor '{key}' has different shapes",
            where=f"{primary.path.name}: {list(mine.shape)}, {other.path.name}: {list(info.shape)}",
            fix="the two models have different structure and cannot be combined",
        )


def _check_extra_keys(primary: CheckpointSource, other: CheckpointSource) -> None:
    """Keys only in `other`: named rules and whole components may be ignored, the rest is an error."""
    family = primary.detected.family
    extra = [key for key in other.tensors if key not in primary.tensors]
    components = {family.component_of_key(key) for key in primary.tensors}
    unexplained = [
        key
        for key in extra
        if family.rule_for_key(key) is None
        and (component := family.component_of_key(key)) is not None
        and component in components
    ] + [key for key in extra if family.rule_for_key(key) is None and family.component_of_key(key) is None]
    if unexplained:
        raise InputError(
            f"{counted(len(unexplained), 'tensor')} of '{other.name}' "
            f"{'has' if len(unexplained) == 1 else 'have'} no counterpart in '{primary.name}'",
            where=f"{other.path.name}: {few(unexplained)}",
            fix="check that both are the models you meant; "
            f"{option('allow_unmatched', True)} leaves these tensors out",
        )


def plan_coverage(
    expressions: Sequence[LinearExpression], sources: Sources, options: RunOptions
) -> dict[str, AdapterCoverage]:
    """How the modules of every adapter are used; InputError for what does not match."""
    for expression in expressions:
        check_differences(expression, sources)
    names = dict.fromkeys(name for expression in expressions for name in expression.adapters)
    return {name: adapter_coverage(name, expressions, sources, options) for name in names}


def adapter_coverage(
    name: str, expressions: Sequence[LinearExpression], sources: Sources, options: RunOptions
) -> AdapterCoverage:
    """Count an adapter's modules over all its uses; InputError for what matches nothing or misfits."""
    adapter = sources.adapters[name]
    unmatched: dict[str, None] = dict.fromkeys(adapter.unmatched)
    used = set(adapter.modules)
    using = [expression for expression in expressions if name in expression.adapters]
    terms = (term for expression in using for term in all_terms(expression))
    strengths = [
        term.strength for term in terms if isinstance(term.leaf, AdapterLeaf) and term.leaf.name == name
    ]
    for checkpoint in dict.fromkeys(one for expression in using for one in expression.checkpoints):
        base = sources.checkpoints[checkpoint]
        fit = check_against(
            adapter, base.modules, base.tensors, lambda module: _zero_strength([module], strengths) == 1
        )
        require_fit(adapter, fit, base.detected.family.label, allow_unmatched=options.allow_unmatched)
        unmatched.update(dict.fromkeys(fit.unmatched))
        used &= {module.name for module in (*fit.used, *fit.idle)}
    if adapter.unmatched and not options.allow_unmatched:
        raise InputError(
            f"{counted(len(adapter.unmatched), 'part')} of the LoRA "
            f"{'has' if len(adapter.unmatched) == 1 else 'have'} no place in {adapter.family.label}",
            where=f"{adapter.file.path}: {few(list(adapter.unmatched))}",
            fix=f"{option('allow_unmatched', True)} leaves them out",
        )
    zero = _zero_strength([adapter.modules[module] for module in used], strengths)
    return AdapterCoverage(len(used) - zero, zero, tuple(unmatched))


def check_differences(expression: LinearExpression, sources: Sources) -> None:
    """InputError for an adapter that is added like a difference, although its kind depends on the weights."""
    for leaf in expression.leaves:
        if isinstance(leaf, AdapterLeaf) and leaf.weights is None:
            adapter = sources.adapters[leaf.name]
            if (kind := adapter.changing_kind) is not None:
                raise InputError(
                    f"the kind of '{leaf.name}' is {kind.label}: "
                    "what it changes depends on the model that it is added to",
                    where=str(adapter.file.path),
                    fix=f"write A + {kind.id}(A, 0.7*{leaf.name}) for a model A",
                )


def _zero_strength(modules: Sequence[AdapterModule], strengths: Sequence[Strength]) -> int:
    """Modules that no use of the adapter gives a strength other than 0; checks block lists on the way."""
    for strength in strengths:
        check_blocks(strength, modules)
    return sum(1 for module in modules if all(effective(strength, module) == 0.0 for strength in strengths))
