"""A recipe: named inputs, variables, block lists and steps, plus what to save."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from loralathe.errors import InputError, did_you_mean, half_width
from loralathe.language.functions import SIGNATURES
from loralathe.language.parse import parse_expression
from loralathe.language.syntax import Node, block_names, value_names
from loralathe.tensorfiles import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover -- the same parser under its older name
    import tomli as tomllib

FUNCTIONS = frozenset({"extract", "combine", "resize", "fp16", "bf16", *SIGNATURES})
TABLES = ("inputs", "variables", "blocks", "steps", "save")
SOURCE = "source"
_WINDOWS_PATH = re.compile(r"""^(?P<line>[^#'\n]*"[A-Za-z]:\\(?!\\).*)$""", re.MULTILINE)
"""`"C:\\temp"` with one backslash: TOML refuses it, or reads a tab where it says `\\t`."""
SAVE_TEXTS = ("dtype", "vae", "discard", "metadata_from", "config_from", "adapter_metadata")
SAVE_KEYS = ("file", "metadata", *SAVE_TEXTS)
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
    metadata_from: whose entries are copied: 'first', an input's name, 'merge' (all, later ones win), 'none'.
    config_from:   whose `.yaml` is copied beside the output: 'any' (the first that has one), an input's
                   name, 'none'.
    adapter_metadata: what an adapter takes over from those it was made of; one of ADAPTER_METADATA.
    """

    step: str
    file: Path
    dtype: str | None = None
    discard: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    title: str | None = None
    vae: Path | None = None
    metadata_from: str = "first"
    config_from: str = "any"
    adapter_metadata: str = "new"

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
        for name in settings:
            if name not in self.variables:
                raise InputError(
                    f"the recipe has no variable '{name}'",
                    where=self.where,
                    fix=did_you_mean(name, self.variables) or f"it has: {_listing(self.variables)}",
                )
        _check_finite(settings, self.where)
        return replace(self, variables={**self.variables, **settings})

    def with_inputs(self, files: Mapping[str, Path]) -> Recipe:
        """The same recipe over other files; InputError for an input that it does not have."""
        for name in files:
            if name not in self.inputs:
                raise InputError(
                    f"the recipe has no input '{name}'",
                    where=self.where,
                    fix=did_you_mean(name, self.inputs) or f"it has: {_listing(self.inputs)}",
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
    nodes = {name: parse_expression(text, f"{where}, step '{name}'") for name, text in steps.items()}
    numbers = {name: float(value) for name, value in (variables or {}).items()}
    recipe = Recipe(dict(inputs), nodes, dict(steps), numbers, dict(blocks or {}), tuple(saves), where)
    _check_finite(numbers, where)
    _check_names(recipe)
    _check_circles(recipe)
    for save in recipe.saves:
        if save.step not in nodes:
            raise InputError(
                f"[save] names '{save.step}', which is not a step",
                where=where,
                fix=did_you_mean(save.step, nodes) or f"steps are: {_listing(nodes)}",
            )
    return recipe


def read_recipe(path: Path) -> Recipe:
    """Read a TOML recipe; paths in it are relative to its folder.

    Raises InputError for a missing or malformed file, unknown tables or keys, and whatever
    `make_recipe` refuses.
    """
    text = read_text(path, "recipe")
    if drive := _WINDOWS_PATH.search(text):
        line = text.count("\n", 0, drive.end()) + 1
        raise InputError(
            "a backslash in double quotes begins a sign such as \\t, and no folder",
            where=f"{path}, line {line}: {drive['line'].strip()}",
            fix=r"put Windows paths in single quotes, 'C:\loras\hina.safetensors', or write them with /",
        )
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or a number of 5000 digits
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(
            f"the recipe is not valid TOML: {reason}",
            where=str(path),
            fix="'=', quotes and brackets are half-width characters"
            if half_width(text) != text and _is_toml(half_width(text))
            else "texts stand in quotes, tables in [brackets]; see the example in the README",
        ) from None
    return _from_table(data, path)


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _from_table(data: Mapping[str, object], path: Path) -> Recipe:
    where = path.name
    for table in data:
        if table not in TABLES:
            raise InputError(
                f"the recipe has an unknown table [{table}]",
                where=where,
                fix=did_you_mean(table, TABLES) or f"tables are: {_listing(TABLES)}",
            )
    folder = path.parent
    inputs = {name: folder / text for name, text in _texts(data, "inputs", where).items()}
    saves = tuple(_save(name, entry, folder, where) for name, entry in _table(data, "save", where).items())
    return make_recipe(
        inputs=inputs,
        steps=_texts(data, "steps", where),
        variables=_numbers(data, where),
        blocks=_texts(data, "blocks", where),
        saves=saves,
        where=where,
    )


def _table(data: Mapping[str, object], name: str, where: str) -> Mapping[str, object]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise InputError(f"'{name}' must be a table", where=where, fix=f"write [{name}] on a line of its own")
    return table


def _texts(data: Mapping[str, object], name: str, where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in _table(data, name, where).items():
        if not isinstance(value, str):
            raise InputError(f"'{key}' must be a quoted text", where=f"{where}, [{name}]")
        found[key] = value
    return found


def _numbers(data: Mapping[str, object], where: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in _table(data, "variables", where).items():
        number = _finite(value)
        if number is None:
            raise InputError(f"'{key}' must be a number", where=f"{where}, [variables]", fix=f"{key} = 0.7")
        found[key] = number
    return found


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond 1e308
        return None
    return number if math.isfinite(number) else None


def _save(step: str, entry: object, folder: Path, where: str) -> Save:
    place = f"{where}, [save], '{step}'"
    if isinstance(entry, str):
        return Save(step, folder / entry)
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise InputError(
            "a saved step needs a file", where=place, fix=f'{step} = {{ file = "{step}.safetensors" }}'
        )
    for key in entry:
        if key not in SAVE_KEYS:
            raise InputError(
                f"a saved step has no option '{key}'",
                where=place,
                fix=did_you_mean(key, SAVE_KEYS) or f"options: {_listing(SAVE_KEYS)}",
            )
    for key in SAVE_TEXTS:
        if not isinstance(entry.get(key, ""), str):
            raise InputError(f"'{key}' must be a quoted text", where=place)
    metadata = entry.get("metadata", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise InputError("'metadata' must be a table of quoted texts", where=place)
    return Save(
        step,
        folder / entry["file"],
        entry.get("dtype"),
        entry.get("discard"),
        dict(metadata),
        vae=folder / entry["vae"] if "vae" in entry else None,
        metadata_from=entry.get("metadata_from", "first"),
        config_from=entry.get("config_from", "any"),
        adapter_metadata=entry.get("adapter_metadata", "new"),
    )


def _check_finite(variables: Mapping[str, float], where: str) -> None:
    for name, value in variables.items():
        if not math.isfinite(value):
            raise InputError(
                f"the variable '{name}' is {value}, not a number to multiply by",
                where=where,
                fix=f"{name} = 0.7",
            )


def _check_names(recipe: Recipe) -> None:
    seen: dict[str, str] = dict.fromkeys(FUNCTIONS, "a function")
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
        lists = {name.id for name in block_names(node)}
        for used in value_names(node):
            if used.id not in seen and used.id not in lists:
                raise InputError(
                    f"nothing is called '{used.id}'",
                    where=f"{recipe.where}, step '{step}', character {used.at + 1}",
                    fix=did_you_mean(used.id, seen) or f"known names: {_listing(set(seen) - FUNCTIONS)}",
                )


def _check_circles(recipe: Recipe) -> None:
    done: set[str] = set()

    def visit(step: str, trail: tuple[str, ...]) -> None:
        if step in trail:
            circle = " → ".join((*trail[trail.index(step) :], step))
            raise InputError(f"the steps go in a circle: {circle}", where=recipe.where)
        if step in done:
            return
        for used in value_names(recipe.steps[step]):
            if used.id in recipe.steps:
                visit(used.id, (*trail, step))
        done.add(step)

    for step in recipe.steps:
        visit(step, ())


def _listing(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
