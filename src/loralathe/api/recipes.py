"""Everyday work as recipes of one step: what merge, extract, combine and the others run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.arguments import beside, formula_name
from loralathe.errors import InputError, few, option
from loralathe.language import DEFAULT_RANK, DIFFUSERS, RULES, SHARD_SIZE, InputNames, Save, stem

if TYPE_CHECKING:
    from loralathe.language import Recipe
    from loralathe.progress import Progress
    from loralathe.strengths import AdapterUse

MERGED, EXTRACTED, RESULT = "merged", "lora", "result"
"""Names of the one step."""
CHOOSING = frozenset({"rank", "energy", "size", "full", *RULES})
"""Arguments of extract(), combine() and resize() that choose ranks."""

Ranks = Mapping[str, float | str]
"""What chooses the ranks: arguments of extract(), combine() and resize() by name (docs/loras.md)."""
Held = Mapping[str, Path]
"""The places of adapters that are in memory, by the name of their file."""


def adjusted(
    use: AdapterUse,
    elements: Sequence[str],
    include: Sequence[str],
    exclude: Sequence[str],
    te: float,
    unet: float,
) -> AdapterUse:
    """An adapter with the element rules and strengths of the whole command on top of its own."""
    from loralathe.strengths import selection_rules

    selection = selection_rules(include, exclude) if include or exclude else None
    rules = (use.elements, *elements, selection)
    text = ",".join(rule for rule in rules if rule) or None
    return replace(use, elements=text, te=_times(use.te, te), unet=_times(use.unet, unet))


def _times(one: float, other: float) -> float:
    """The product as people calculate it: 0.7 × 0.1 is 0.07, not 0.06999999999999999."""
    return float(Decimal(repr(one)) * Decimal(repr(other)))


def merge_recipe(
    base: Path,
    uses: Sequence[AdapterUse],
    lists: Mapping[str, str],
    output: Path | None = None,
    dtype: str | None = None,
    held: Held | None = None,
) -> Recipe:
    """`base + 0.7*hina@Face`; lists: block lists by name;  output: None for a name beside the base."""
    held = held or {}
    names = InputNames({MERGED, *lists, *(use.blocks for use in uses if use.blocks)})
    model = names.name(base)
    formula = model + "".join(_added(model, names, use, held) for use in uses)
    file = output or beside(base, f"{stem(base)}+{_joined_name(uses)}")
    return _one_step(MERGED, formula, names.inputs, file, dtype, lists=lists, where="the merge")


def _added(model: str, names: InputNames, use: AdapterUse, held: Held) -> str:
    """` + 0.7*hina`, of a DoRA and its like what it changes of the model: ` + dora(A, 0.7*hina)`."""
    from loralathe.adapters import changing_kind_of_file
    from loralathe.strengths import term_text

    path = held.get(use.file, use.path)
    term = term_text(names.name(path), use)
    function = changing_kind_of_file(path)
    if function is None:
        return term
    sign, value = term[1], term[3:]
    return f" + {function}({model}, {'-' * (sign == '-')}{value})"


def combine_recipe(
    uses: Sequence[AdapterUse],
    ranks: Ranks,
    lists: Mapping[str, str],
    output: Path | None,
    dtype: str | None,
    metadata: str,
    held: Held | None = None,
) -> Recipe:
    """`combine(0.7*hina@Face + 0.4*style, rank=32)`."""
    from loralathe.strengths import term_text

    held = held or {}
    names = InputNames({EXTRACTED, *lists, *(use.blocks for use in uses if use.blocks)})
    places = [held.get(use.file, use.path) for use in uses]
    terms = "".join(term_text(names.name(path), use) for path, use in zip(places, uses, strict=True))
    formula = _call("combine", "-" * terms.startswith(" - ") + terms[3:], ranks)
    label = ranks_label(ranks)
    file = output or beside(places[0], _joined_name(uses) + (f"_{label}" if label else ""))
    return _one_step(EXTRACTED, formula, names.inputs, file, dtype, lists=lists, metadata=metadata)


def resize_recipe(lora: Path, ranks: Ranks, output: Path | None, dtype: str | None, metadata: str) -> Recipe:
    """`resize(hina, energy=0.95)`; InputError where nothing says how large."""
    if not CHOOSING & ranks.keys() or "full" in ranks:
        raise InputError(
            "resize needs the new size",
            fix=f"add {option('rank', 16)}, {option('energy', 0.95)} or {option('size', '20MB')}",
        )
    names = InputNames({EXTRACTED})
    formula = _call("resize", names.name(lora), ranks)
    file = output or beside(lora, f"{stem(lora)}_{ranks_label(ranks)}")
    return _one_step(EXTRACTED, formula, names.inputs, file, dtype, metadata=metadata)


def bake_recipe(lora: Path, base: Path | None, rank: int, output: Path, dtype: str | None) -> Recipe:
    """`resize(hina, rank=16)`, or of what depends on the base `extract(dora(A, hina), rank=16, …)`."""
    from loralathe.adapters import changing_kind_of_file

    names = InputNames({EXTRACTED})
    function = changing_kind_of_file(lora)
    if function is None:
        formula = _call("resize", names.name(lora), {"rank": rank})
    elif base is None:
        raise InputError(
            f"what this adapter changes depends on the model's own weights ({function})",
            where=str(lora),
            fix=f"give {option('bake', 'BASE')}, the model that it was trained on",
        )
    else:
        change = f"{function}({names.name(base)}, {names.name(lora)})"
        formula = _call("extract", change, {"rank": rank, "conv_rank": rank})
    return _one_step(EXTRACTED, formula, names.inputs, output, dtype, where="the baking")


def extract_recipe(
    tuned: Path,
    base: Path,
    arguments: Ranks,
    output: Path | None = None,
    dtype: str | None = "fp16",
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    metadata: str = "new",
) -> Recipe:
    """`extract(tuned - base, rank=64, …)`; arguments: those of extract(), rank 64 where none chooses."""
    if not CHOOSING & arguments.keys():
        arguments = {"rank": DEFAULT_RANK, **arguments}
    if alpha != beta:
        arguments = {**arguments, "unbalanced": 1}
    difference = f"{_multiple(alpha, 'tuned')} - {_multiple(beta, 'base')}"
    file = output or beside(tuned, f"{stem(tuned)}-{stem(base)}_{ranks_label(arguments)}")
    formula, inputs = _call("extract", difference, arguments), {"tuned": tuned, "base": base}
    return _one_step(EXTRACTED, formula, inputs, file, dtype, metadata=metadata, where="the extraction")


def _multiple(factor: float, name: str) -> str:
    return name if factor == 1 else f"{factor!r}*{name}"


def add_difference_recipe(
    a: Path, b: Path, c: Path, multiplier: float, output: Path | None = None, dtype: str | None = None
) -> Recipe:
    """`A + M*(B - C)`."""
    file = output or beside(a, f"{stem(a)}{multiplier:+g}({stem(b)}-{stem(c)})")
    inputs, variables = {"A": a, "B": b, "C": c}, {"M": multiplier}
    return _one_step(RESULT, "A + M*(B - C)", inputs, file, dtype, variables=variables)


def weighted_sum_recipe(
    a: Path, b: Path, multiplier: float, output: Path | None = None, dtype: str | None = None
) -> Recipe:
    """`(1 - M)*A + M*B`."""
    file = output or beside(a, f"{stem(a)}+{multiplier:g}({stem(b)}-{stem(a)})")
    inputs, variables = {"A": a, "B": b}, {"M": multiplier}
    return _one_step(RESULT, "(1 - M)*A + M*B", inputs, file, dtype, variables=variables)


@dataclass(frozen=True)
class FolderChoices:
    """What a conversion is asked for: see `convert`."""

    layout: str | None = None
    shard_size: str = SHARD_SIZE
    like: Path | None = None

    @property
    def is_folder(self) -> bool:
        return self.layout == DIFFUSERS

    def save(self, save: Save) -> Save:
        """The entry with these choices; InputError for those of folders where none is written."""
        given = {"shard_size": self.shard_size != SHARD_SIZE, "like": self.like is not None}
        for name, is_given in given.items():
            if is_given and not self.is_folder:
                raise InputError(
                    f"{option(name)} is for folders", fix=f"add {option('layout', DIFFUSERS)}", about=name
                )
        return replace(save, layout=self.layout or save.layout, shard_size=self.shard_size, like=self.like)


def convert_recipe(
    a: Path, dtype: str | None, output: Path | None, choices: Mapping[str, object], folder: FolderChoices
) -> Recipe:
    """`A` in another dtype, or saved with other choices; InputError where nothing would change."""
    from loralathe.families import in_original_layout
    from loralathe.tensorfiles import open_tensorfile

    vae = choices.get("vae")
    other_layout = False
    suffix = "" if dtype in (None, "source") else f"_{dtype}"
    if not suffix:
        with open_tensorfile(a) as file:
            suffix = "_bf16" if file.is_quantised else ""
            changes = suffix or any(choices.get(name) for name in ("vae", "discard", "metadata"))
            other_layout = in_original_layout(file) is not file
            changes = changes or other_layout or folder.is_folder or file.files not in ((), (file.path,))
            if file.format == "safetensors" and not changes:
                raise InputError(
                    "nothing would be converted",
                    where=str(a),
                    fix=f"add {option('dtype', 'fp16')} or another, {option('layout', DIFFUSERS)}, "
                    f"{option('vae', 'FILE')} or {option('discard', 'REGEX')}",
                )
    name = stem(a) + suffix + (f"+{stem(vae)}" if isinstance(vae, Path) else "")
    made = beside(a, f"{name}-diffusers").with_suffix("") if folder.is_folder else beside(a, name)
    if other_layout and made == a:
        made = beside(a, f"{name}-original")
    recipe = _one_step(RESULT, "A", {"A": a}, output or made, dtype)
    return replace(recipe, saves=tuple(map(folder.save, recipe.saves)))


def formula_recipe(
    formula: str,
    inputs: Mapping[str, Path],
    variables: Mapping[str, float],
    lists: Mapping[str, str],
    output: Path | None = None,
    dtype: str | None = None,
) -> Recipe:
    """Any formula as a recipe of one step."""
    step = RESULT
    while step in inputs or step in variables or step in lists:
        step += "_"
    file = output or beside(next(iter(inputs.values())), formula_name(formula, inputs))
    return _one_step(step, formula, inputs, file, dtype, variables=variables, lists=lists)


def _one_step(
    step: str,
    formula: str,
    inputs: Mapping[str, Path],
    file: Path,
    dtype: str | None,
    *,
    variables: Mapping[str, float] | None = None,
    lists: Mapping[str, str] | None = None,
    metadata: str = "new",
    where: str = "the formula",
) -> Recipe:
    from loralathe.language import make_recipe

    return make_recipe(
        inputs=inputs,
        steps={step: formula},
        variables=variables or {},
        blocks=lists or {},
        saves=[Save(step, file, dtype, adapter_metadata=metadata)],
        where=where,
    )


def with_saving(recipe: Recipe, choices: Mapping[str, object]) -> Recipe:
    """The recipe with these fields of `Save` for all that it saves."""
    return replace(recipe, saves=tuple(replace(save, **choices) for save in recipe.saves))  # type: ignore[arg-type]


def tell_far_outputs(path: Path, read: Recipe, changed: Recipe, progress: Progress) -> None:
    """A message of the files that the recipe itself, not the person, saves outside of its own folder.

    read, changed: the recipe as it was read from `path`, and with the outputs that the person named.
    """
    folder, own = path.parent.resolve(), {save.file for save in read.saves}
    files = [str(save.file) for save in changed.saves if save.file in own]
    far = [file for file in files if not Path(file).resolve().is_relative_to(folder)]
    if far:
        progress.message(f"the recipe writes outside of its own folder: {few(far)}")


def _call(function: str, values: str, arguments: Mapping[str, object]) -> str:
    """`extract(tuned - base, rank=64, size='100MB')`."""
    parts = [values, *(f"{name}={value!r}" for name, value in arguments.items())]
    return f"{function}({', '.join(parts)})"


def ranks_label(ranks: Mapping[str, object]) -> str:
    """A word for file names: `r64c16`, `95%`, `100MB`, `ratio0.1`, `full`; nothing for exact factors."""
    if isinstance(energy := ranks.get("energy"), float):
        return f"{100 * energy:g}%"
    if "size" in ranks:
        return str(ranks["size"]).replace(" ", "")
    for kind in RULES:
        if kind in ranks:
            return f"{kind}{ranks[kind]:g}"
    if "full" in ranks:
        return "full"
    conv = f"c{ranks['conv_rank']}" if "conv_rank" in ranks else ""
    return f"r{ranks['rank']}{conv}" if "rank" in ranks else ""


def _joined_name(uses: Sequence[AdapterUse]) -> str:
    """`hina0.7@Face+style1`; block lists go by their names only."""
    parts = []
    for use in uses:
        strength = f"{use.unet:g}"
        if use.te != use.unet:
            strength += f"te{use.te:g}"
        named = use.blocks if use.blocks and not set(use.blocks) & set(",=") else None
        parts.append(f"{stem(use.path)}{strength}" + (f"@{named}" if named else ""))
    return "+".join(parts)
