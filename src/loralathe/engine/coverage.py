"""Does everything match? Modules of adapters against the bases that they are added to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loralathe.adapters import AdapterModule, check_against, require_fit
from loralathe.engine.options import RunOptions
from loralathe.engine.sources import Sources
from loralathe.errors import InputError, counted, few, option
from loralathe.language import AdapterLeaf, LinearExpression, all_terms
from loralathe.strengths import Strength, check_blocks, effective


@dataclass(frozen=True)
class AdapterCoverage:
    """What became of an adapter's modules."""

    used: int
    zero_strength: int
    unmatched: tuple[str, ...]


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
