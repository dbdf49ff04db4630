"""From `NAME = VALUES` to an axis: the table of kinds, and how a name finds its kind."""

from __future__ import annotations

from dataclasses import replace

from loralathe.adapters import close_files
from loralathe.errors import InputError, spelling_hint, with_equals
from loralathe.strengths import match_name, name_hint, names_blocks
from loralathe.studies.axes_adapter import ADAPTER_KINDS, build_block_value
from loralathe.studies.axes_prompt import PROMPT_KINDS
from loralathe.studies.axes_request import REQUEST_KINDS
from loralathe.studies.axis import Axis, AxisKind, AxisSpec, decimal_axis
from loralathe.studies.cell_builder import CellBuilder, adapter_name, pull_tags
from loralathe.studies.context import Context

AXIS_KINDS: tuple[AxisKind, ...] = (*REQUEST_KINDS, *PROMPT_KINDS, *ADAPTER_KINDS)


def parse_axis(text: str, base: CellBuilder, context: Context) -> Axis:
    """The axis that `NAME = VALUES` describes, for cells made from `base`.

    A name is that of a kind (`seed`, `cfg`, `prompt s/r` …), an adapter with or without a kind (`hina`,
    `hina te`, `hina IN04-IN08`), or a variable of the recipe. Raises InputError with close names.
    """
    name, equals, values = text.partition("=")
    name = " ".join(name.split())
    if not equals or not name:
        fix = spelling_hint(text) or _with_equals(text) or "for example: cfg = 4..8 (+2)"
        raise InputError("an axis is written NAME = VALUES", where=f"'{text}'", fix=fix)
    spec = AxisSpec(name, "", values.strip(), pull_tags(base, context), context)
    variables = context.recipe.variables if context.recipe else {}
    if name in variables:
        return build_variable(spec)
    found = _kind_of(name) or _targeted_kind_of(name)
    if found is not None:
        kind, target = found
        seen = base if kind in PROMPT_KINDS else spec.base  # prompt axes see the tags as text
        return kind.build(replace(spec, target=target, base=seen))
    if (variable := match_name(name, variables)) is not None:
        return build_variable(replace(spec, title=variable))
    return _adapter_axis(spec)


def _with_equals(text: str) -> str | None:
    meant = with_equals(text)
    return f"write {meant}" if meant else None


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _kind_of(name: str) -> tuple[AxisKind, str] | None:
    for kind in AXIS_KINDS:
        if _folded(name) in kind.names:
            return kind, ""
    return None


def _targeted_kind_of(name: str) -> tuple[AxisKind, str] | None:
    words = name.split(" ")
    for length in (2, 1):
        if len(words) <= length:
            continue
        tail, head = _folded(" ".join(words[-length:])), " ".join(words[:-length])
        for kind in AXIS_KINDS:
            if kind.targeted and tail in kind.names:
                return kind, head
    return None


def _adapter_axis(spec: AxisSpec) -> Axis:
    """`hina` (its strength), `hina IN04-IN08`, `block IN04`, `IN04`: blocks by selector; else an error."""
    words = spec.title.split(" ")
    strength = next(kind for kind in ADAPTER_KINDS if "strength" in kind.names)
    own = [adapter_name(use.file) for use in spec.base.request.adapters]
    names = [*own, *spec.context.loras]
    if match_name(spec.title, names) is not None:
        return strength.build(replace(spec, target=spec.title))
    for start in range(len(words)):
        if all(names_blocks(word, spec.context.family) for word in words[start:]):
            if start and words[start - 1].casefold() == "not":
                start -= 1  # noqa: PLW2901  the selector begins at NOT
            head = words[:start]
            target = " ".join(head[:-1] if head and head[-1].casefold() in ("block", "blocks") else head)
            return build_block_value(replace(spec, target=target, selector=" ".join(words[start:])))
    variables = list(spec.context.recipe.variables) if spec.context.recipe else []
    near = close_files(spec.title, spec.context.loras)
    known = [*(name for kind in AXIS_KINDS for name in kind.names), *own, *near, *variables]
    kinds = ", ".join(kind.names[0] for kind in AXIS_KINDS)
    swept = f"the recipe's variables {', '.join(variables)}, or " if variables else ""
    fix = name_hint(spec.title, known) or f"take {swept}one of {kinds}; the help of grid shows examples"
    raise InputError(f"there is no axis '{spec.title}'", fix=fix)


def build_variable(spec: AxisSpec) -> Axis:
    """Values of one variable of the recipe; the recipe is evaluated in memory for every combination."""
    name = spec.title

    def apply(cell: CellBuilder, value: float) -> CellBuilder:
        variables = dict(cell.variables) | {name: value}
        return replace(cell, variables=tuple(sorted(variables.items())))

    return decimal_axis(name, spec, 0.9, apply, frozenset({f"the variable {name}"}))
