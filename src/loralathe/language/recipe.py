"""A recipe: named inputs, variables, block lists and steps, plus what to save."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from loralathe.errors import InputError, did_you_mean
from loralathe.language.methods import functions
from loralathe.language.parse import parse_expression
from loralathe.language.syntax import At, Call, Name, Node, Text, children, depth, plain_name, value_names

SOURCE = "source"
FIRST = "first"
T = TypeVar("T")
MOST_LEVELS = 300
"""Steps that need each other in a row, each with the levels of its formula: a third of what Python nests."""
MOST_STEPS = 10_000
ORIGINAL, DIFFUSERS = "original", "diffusers"
LAYOUTS = (ORIGINAL, DIFFUSERS)
SHARD_SIZE = "10GB"
"""As diffusers cuts."""
ADAPTER_METADATA = ("new", "first", "merge", "all", "minimal")


@dataclass(frozen=True)
class Save:
    """One output: a step's name, its file, and how it is written.

    dtype:         fp16, bf16, fp32; None (and 'source', the same choice in the command line's words) keeps
                   that of the input.
    title:         what an adapter calls itself in its metadata; None is the file's name without its ending.
    vae:           a file whose VAE takes the place of the model's own.
    discard:       a regular expression; tensors whose name it finds are left out.
    metadata:      entries of its own, over those that are copied.
    metadata_from: whose entries are copied: 'first', an input's name, 'new' (of the first what programs
                   need), 'merge' (all, later ones win), 'all' (the first's, and each input's whole as
                   JSON), 'none'.
    config_from:   whose `.yaml` is copied beside the output: 'any' (the first that has one), an input's
                   name, 'none'.
    adapter_metadata: what an adapter takes over from those it was made of; one of ADAPTER_METADATA.
    layout:        'original', one file, or 'diffusers', a folder; one of LAYOUTS.
    shard_size:    of a folder: the most that a file of it holds, as text.
    like:          of a folder: another whose configs are copied; None: the input, if it is one.
    """

    step: str
    file: Path
    dtype: str | None = None
    discard: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    title: str | None = None
    vae: Path | None = None
    metadata_from: str = FIRST
    config_from: str = "any"
    adapter_metadata: str = "new"
    layout: str = ORIGINAL
    shard_size: str = SHARD_SIZE
    like: Path | None = None

    def __post_init__(self) -> None:
        # One spelling of one choice: files made by a command and by a recipe have the same record.
        if self.dtype == SOURCE:
            object.__setattr__(self, "dtype", None)


@dataclass(frozen=True)
class Recipe:
    """Everything that a run needs to know, before any file is opened.

    `steps` keeps the order of definition; a step may use names defined anywhere, but not itself.
    """

    inputs: Mapping[str, Path]
    steps: Mapping[str, Node]
    texts: Mapping[str, str]
    variables: Mapping[str, float] = field(default_factory=dict)
    blocks: Mapping[str, str] = field(default_factory=dict)
    saves: tuple[Save, ...] = ()
    where: str = "recipe"

    def with_variables(self, settings: Mapping[str, float]) -> Recipe:
        """The same recipe with other values; InputError for a variable that it does not have."""
        settings = _named(settings, self.where)
        for name in settings:
            if name not in self.variables:
                raise InputError(
                    f"the recipe has no variable '{name}'",
                    where=self.where,
                    fix=did_you_mean(name, self.variables) or f"it has: {listing(self.variables)}",
                )
        return replace(self, variables={**self.variables, **_finite(settings, self.where)})

    def with_inputs(self, files: Mapping[str, Path]) -> Recipe:
        """The same recipe over other files; InputError for an input that it does not have."""
        files = _named(files, self.where)
        for name in files:
            if name not in self.inputs:
                raise InputError(
                    f"the recipe has no input '{name}'",
                    where=self.where,
                    fix=did_you_mean(name, self.inputs) or f"it has: {listing(self.inputs)}",
                )
        return replace(self, inputs={**self.inputs, **files})


def make_recipe(
    *,
    inputs: Mapping[str, Path],
    steps: Mapping[str, str],
    variables: Mapping[str, float] | None = None,
    blocks: Mapping[str, str] | None = None,
    saves: Iterable[Save] = (),
    where: str = "recipe",
) -> Recipe:
    """Parse the steps and check that all names are known, unique and not circular.

    Raises InputError for a name used twice, unknown, misspelt or circular, and for a bad formula.
    """
    if len(steps) > MOST_STEPS:
        raise InputError(f"more than {MOST_STEPS:,} steps", where=where, fix="make several recipes of it")
    texts = _named(steps, where)
    nodes = {name: parse_expression(text, f"{where}, step '{name}'") for name, text in texts.items()}
    numbers = _finite(_named(variables or {}, where), where)
    lists = _named(blocks or {}, where)
    saves = tuple(replace(save, step=plain_name(save.step)) for save in saves)
    recipe = Recipe(_named(inputs, where), nodes, texts, numbers, lists, saves, where)
    _check_names(recipe)
    _check_order(recipe)
    for save in recipe.saves:
        if save.step not in nodes:
            raise InputError(
                f"[save] names '{save.step}', which is not a step",
                where=where,
                fix=did_you_mean(save.step, nodes) or f"steps are: {listing(nodes)}",
            )
    return recipe


def _named(table: Mapping[str, T], where: str) -> dict[str, T]:
    """The table under the names by which formulas find its entries."""
    found = {plain_name(name): value for name, value in table.items()}
    if len(found) < len(table):
        twice = next(name for name in found if sum(plain_name(other) == name for other in table) > 1)
        raise InputError(f"two things are called '{twice}'", where=where, fix="rename one of them")
    return found


def block_texts(node: Node) -> Iterator[str]:
    """What stands where block lists do: names, and quoted names or lists."""
    for value in _block_values(node):
        yield value.id if isinstance(value, Name) else value.value.strip()


def _block_values(node: Node) -> Iterator[Name | Text]:
    """What may be a block list: right of `@`, and where functions take a number or a list."""
    values: list[Node] = [node.blocks] if isinstance(node, At) else []
    if isinstance(node, Call) and node.function in functions():
        values = functions()[node.function].block_values(node)
    yield from (value for value in values if isinstance(value, (Name, Text)))
    for child in children(node):
        yield from _block_values(child)


def used_names(recipe: Recipe, steps: Iterable[str] | None = None) -> set[str]:
    """Names of the saved steps, or of `steps`, and of what they mention: steps, inputs, variables, lists."""
    used: set[str] = set()
    waiting = [save.step for save in recipe.saves] if steps is None else list(steps)
    while waiting:
        name = waiting.pop()
        if name in used:
            continue
        used.add(name)
        if name in recipe.steps:
            node = recipe.steps[name]
            waiting += [*(found.id for found in value_names(node)), *block_texts(node)]
    return used


def unused_names(recipe: Recipe) -> tuple[str, ...]:
    """Inputs, variables and block lists that no saved step mentions, in the order of the recipe."""
    used = used_names(recipe)
    return tuple(name for name in (*recipe.inputs, *recipe.variables, *recipe.blocks) if name not in used)


def _finite(variables: Mapping[str, object], where: str) -> dict[str, float]:
    """The values as numbers to compute with; InputError for those that are none."""
    found = {}
    for name, value in variables.items():
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise InputError(
                f"the variable '{name}' is {value}, not a number to multiply by",
                where=where,
                fix=f"{name} = 0.7",
                about="variables",
            )
        found[name] = float(value)
    return found


def _check_names(recipe: Recipe) -> None:
    seen: dict[str, str] = dict.fromkeys(functions(), "a function")
    groups: tuple[tuple[str, Iterable[str]], ...] = (
        ("an input", recipe.inputs),
        ("a variable", recipe.variables),
        ("a block list", recipe.blocks),
        ("a step", recipe.steps),
    )
    for kind, names in groups:
        for name in names:
            if not name.isidentifier():
                raise InputError(
                    f"'{name}' cannot be a name",
                    where=recipe.where,
                    fix="use letters, digits and _, not starting with a digit",
                )
            if name in seen:
                raise InputError(
                    f"'{name}' is both {seen[name]} and {kind}", where=recipe.where, fix="rename one of them"
                )
            seen[name] = kind
    for step, node in recipe.steps.items():
        # Names of block lists may be built-in presets, which the engine knows.
        lists = {value.id for value in _block_values(node) if isinstance(value, Name)}
        for used in value_names(node):
            if used.id not in seen and used.id not in lists:
                raise InputError(
                    f"nothing is called '{used.id}'",
                    where=f"{recipe.where}, step '{step}', character {used.at + 1}",
                    fix=did_you_mean(used.id, seen)
                    or f"known names: {listing(seen.keys() - functions().keys())}",
                )


def steps_in_order(recipe: Recipe, steps: Iterable[str]) -> list[str]:
    """`steps` and all that they need, each after those that it needs itself.

    Raises InputError when they go in a circle.
    """
    order: dict[str, None] = {}
    for step in steps:
        trail = {} if step in order else {step: _steps_used(recipe, step)}
        while trail:
            current, rest = next(reversed(trail.items()))
            needed = next((name for name in rest if name not in order), None)
            if needed is None:
                order[current] = None
                del trail[current]
            elif needed in trail:
                names = list(trail)
                circle = " → ".join((*names[names.index(needed) :], needed))
                raise InputError(f"the steps go in a circle: {circle}", where=recipe.where)
            else:
                trail[needed] = _steps_used(recipe, needed)
    return list(order)


def _steps_used(recipe: Recipe, step: str) -> Iterator[str]:
    return (name.id for name in value_names(recipe.steps[step]) if name.id in recipe.steps)


def _check_order(recipe: Recipe) -> None:
    """No circles, and no chain that is longer than Python can follow."""
    levels: dict[str, int] = {}
    for name in steps_in_order(recipe, recipe.steps):
        below = max((levels[used] for used in _steps_used(recipe, name)), default=0)
        levels[name] = below + 1 + depth(recipe.steps[name])
        if levels[name] > MOST_LEVELS:
            raise InputError(
                f"step '{name}' builds on others that build on others, more than {MOST_LEVELS} levels deep",
                where=recipe.where,
                fix="save a step between, and make the file an input of another recipe",
            )


def listing(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
