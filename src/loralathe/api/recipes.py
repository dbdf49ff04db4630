"""Everyday work as recipes of one step: what merge, extract and the others run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from loralathe.api.names import InputNames, beside, formula_name, stem
from loralathe.errors import InputError, option

if TYPE_CHECKING:
    from loralathe.language import Recipe
    from loralathe.strengths import AdapterUse

NOTHING: Mapping[str, object] = MappingProxyType({})
MERGED, EXTRACTED, RESULT = "merged", "lora", "result"
"""Names of the one step."""
DEFAULT_RANK = 64
CHOOSING = frozenset({"rank", "energy", "size", "threshold", "ratio", "quantile", "fro", "full"})
"""Arguments of extract() that choose ranks."""


def merge_recipe(
    base: Path,
    specs: Sequence[AdapterUse],
    lists: Mapping[str, str],
    output: Path | None = None,
    dtype: str | None = None,
) -> Recipe:
    """`base + 0.7*hina@Face`; lists: block lists by name;  output: None for a name beside the base."""
    from loralathe.language import Save, make_recipe

    names = InputNames({MERGED, *lists, *(spec.blocks for spec in specs if spec.blocks)})
    model = names.name(base)
    formula = model + "".join(_added(model, names.name(spec.path), spec) for spec in specs)
    return make_recipe(
        inputs=names.inputs,
        steps={MERGED: formula},
        blocks=lists,
        saves=[Save(MERGED, output or beside(base, merged_name(base, specs)), dtype)],
        where="the merge",
    )


def with_saving(recipe: Recipe, choices: Mapping[str, object]) -> Recipe:
    """The recipe with these fields of `Save` for all that it saves."""
    return replace(recipe, saves=tuple(replace(save, **choices) for save in recipe.saves))  # type: ignore[arg-type]


def rules_for_all(elements: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Element rules that hold for every adapter, those of a choice of blocks and layers among them."""
    from loralathe.strengths import selection_rules

    selection = selection_rules(include, exclude)
    return [*elements, *([selection] if selection else [])]


def adjusted(spec: AdapterUse, rules: Sequence[str] = (), te: float = 1.0, unet: float = 1.0) -> AdapterUse:
    """An adapter with further element rules, and its strengths times those of the whole command."""
    texts = [text for text in (spec.elements, *rules) if text]
    elements = ",".join(texts) or None
    return replace(spec, elements=elements, te=_times(spec.te, te), unet=_times(spec.unet, unet))


def _times(one: float, other: float) -> float:
    """The product as people calculate it: 0.7 × 0.1 is 0.07, not 0.06999999999999999."""
    return float(Decimal(repr(one)) * Decimal(repr(other)))


def added_terms(names: InputNames, specs: Sequence[AdapterUse]) -> str:
    """`0.7*hina@Face - 0.3*style`: adapters alone."""
    from loralathe.strengths import term_text

    text = "".join(term_text(names.name(spec.path), spec) for spec in specs)
    return "-" * text.startswith(" - ") + text[3:]


def _added(model: str, name: str, spec: AdapterUse) -> str:
    """` + 0.7*hina`, of a DoRA and its like what it changes of the model: ` + dora(A, 0.7*hina)`."""
    from loralathe.adapters import changing_kind_of_file
    from loralathe.strengths import term_text

    term = term_text(name, spec)
    function = changing_kind_of_file(spec.path)
    if function is None:
        return term
    sign, value = term[1], term[3:]
    return f" + {function}({model}, {'-' * (sign == '-')}{value})"


def merged_name(base: Path, specs: Sequence[AdapterUse]) -> str:
    """`base+hina0.7@Face`; block lists go by their names only."""
    return f"{stem(base)}+{joined_name(specs)}"


def joined_name(specs: Sequence[AdapterUse]) -> str:
    """`hina0.7@Face+style1`."""
    parts = []
    for spec in specs:
        strength = f"{spec.unet:g}"
        if spec.te != spec.unet:
            strength += f"te{spec.te:g}"
        named = spec.blocks if spec.blocks and not set(spec.blocks) & set(",=") else None
        parts.append(f"{stem(spec.path)}{strength}" + (f"@{named}" if named else ""))
    return "+".join(parts)


def extract_recipe(
    tuned: Path,
    base: Path,
    arguments: Mapping[str, float | str],
    output: Path | None = None,
    dtype: str | None = "fp16",
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    metadata: str = "new",
) -> Recipe:
    """`extract(tuned - base, rank=64, …)`; arguments: those of extract(), rank 64 where none chooses."""
    from loralathe.api.joining import call_text, ranks_label
    from loralathe.language import Save, make_recipe

    if not CHOOSING & arguments.keys():
        arguments = {"rank": DEFAULT_RANK, **arguments}
    if alpha != beta:
        arguments = {**arguments, "unbalanced": 1}
    difference = f"{_multiple(alpha, 'tuned')} - {_multiple(beta, 'base')}"
    file = output or beside(tuned, f"{stem(tuned)}-{stem(base)}_{ranks_label(arguments)}")
    return make_recipe(
        inputs={"tuned": tuned, "base": base},
        steps={EXTRACTED: call_text("extract", difference, arguments)},
        saves=[Save(EXTRACTED, file, dtype, adapter_metadata=metadata)],
        where="the extraction",
    )


def _multiple(factor: float, name: str) -> str:
    return name if factor == 1 else f"{factor!r}*{name}"


def add_difference_recipe(
    a: Path, b: Path, c: Path, multiplier: float, output: Path | None = None, dtype: str | None = None
) -> Recipe:
    """`A + M*(B - C)`."""
    name = f"{stem(a)}{multiplier:+g}({stem(b)}-{stem(c)})"
    inputs = {"A": a, "B": b, "C": c}
    return _combined(inputs, "A + M*(B - C)", {"M": multiplier}, name, output, dtype)


def weighted_sum_recipe(
    a: Path, b: Path, multiplier: float, output: Path | None = None, dtype: str | None = None
) -> Recipe:
    """`(1 - M)*A + M*B`."""
    name = f"{stem(a)}+{multiplier:g}({stem(b)}-{stem(a)})"
    return _combined({"A": a, "B": b}, "(1 - M)*A + M*B", {"M": multiplier}, name, output, dtype)


def convert_recipe(
    a: Path, dtype: str | None, output: Path | None = None, choices: Mapping[str, object] = NOTHING
) -> Recipe:
    """`A` in another dtype, or saved with other choices; InputError where nothing would change."""
    vae = choices.get("vae")
    changes = ("vae", "discard", "metadata")
    kept = dtype in (None, "source")
    if kept and not any(choices.get(name) for name in changes) and not _is_pickle(a):
        raise InputError(
            "nothing would be converted",
            where=str(a),
            fix=f"add {option('dtype', 'fp16')} or another, {option('vae', 'FILE')} "
            f"or {option('discard', 'REGEX')}",
        )
    name = stem(a) + ("" if kept else f"_{dtype}") + (f"+{stem(vae)}" if isinstance(vae, Path) else "")
    return with_saving(_combined({"A": a}, "A", {}, name, output, dtype), choices)


def _is_pickle(path: Path) -> bool:
    from loralathe.tensorfiles import open_tensorfile

    with open_tensorfile(path) as file:
        return file.format == "pickle"


def _combined(
    inputs: Mapping[str, Path],
    formula: str,
    variables: Mapping[str, float],
    name: str,
    output: Path | None,
    dtype: str | None,
) -> Recipe:
    from loralathe.language import Save, make_recipe

    return make_recipe(
        inputs=inputs,
        steps={RESULT: formula},
        variables=variables,
        saves=[Save(RESULT, output or beside(inputs["A"], name), dtype)],
        where="the formula",
    )


def formula_recipe(
    formula: str,
    inputs: Mapping[str, Path],
    variables: Mapping[str, float],
    lists: Mapping[str, str],
    output: Path | None = None,
    dtype: str | None = None,
) -> Recipe:
    """Any formula as a recipe of one step."""
    from loralathe.language import Save, make_recipe

    step = RESULT
    while step in inputs or step in variables or step in lists:
        step += "_"
    file = output or beside(next(iter(inputs.values())), formula_name(formula, inputs))
    return make_recipe(
        inputs=inputs,
        steps={step: formula},
        variables=variables,
        blocks=lists,
        saves=[Save(step, file, dtype)],
        where="the formula",
    )
