"""A recipe with its inputs open, typed and planned: all that headers can tell, before a tensor is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from loralathe.engine.coverage import plan_coverage
from loralathe.engine.options import RunOptions, check_device
from loralathe.engine.outputs import Output, Plan, WeightsOutput
from loralathe.engine.pairs import not_compared
from loralathe.engine.plan import Planner
from loralathe.engine.sidecars import CONFIG, config_target
from loralathe.engine.slices import RowSlice, Unit
from loralathe.engine.sources import Sources
from loralathe.errors import InputError, MachineError, option
from loralathe.language import (
    AdapterLeaf,
    CheckpointLeaf,
    Leaf,
    LinearExpression,
    Recipe,
    TypeChecker,
    inner_expressions,
    used_names,
)
from loralathe.strengths import BlockWeights, parse_block_weights, parse_elements
from loralathe.tensorfiles import MemoryPath, check_folder, check_output, free_space, real_path, remove_stale


@dataclass
class Session:
    """An open recipe.

    expressions: of the saved steps, by name.
    """

    recipe: Recipe
    options: RunOptions
    sources: Sources
    plan: Plan
    planner: Planner
    checker: TypeChecker
    expressions: Mapping[str, LinearExpression]


@contextmanager
def open_session(recipe: Recipe, options: RunOptions | None = None) -> Iterator[Session]:
    """Open the inputs that the saved steps need, type and plan; no tensor is read. Closes them in the end.

    Raises InputError for everything that headers can tell: unknown or damaged files, mixed
    families, shapes, coverage, types of formulas, block lists, a device that is not there.
    """
    options = options or RunOptions()
    check_device(options.device)
    needed = used_names(recipe)
    with ExitStack() as stack:
        inputs = {name: path for name, path in recipe.inputs.items() if name in needed}
        yield _planned(recipe, options, Sources(inputs, stack))


def _planned(recipe: Recipe, options: RunOptions, sources: Sources) -> Session:
    warnings = list(sources.warnings())
    checker = TypeChecker(
        recipe,
        sources.kinds,
        lambda text: resolve_blocks(text, sources, recipe, options, warnings),
        lambda text: parse_elements(text, sources.require_family()),
        sources.require_family,
    )
    expressions = {save.step: checker.step(save.step) for save in recipe.saves}
    planner = Planner(sources, options)
    coverage = plan_coverage(list(expressions.values()), sources, options)
    outputs = tuple(planner.output(save, expressions[save.step]) for save in recipe.saves)
    warnings += (text for expression in expressions.values() for text in not_compared(expression, sources))
    sizes = {name: file.header.file_size for name, file in sources.files.items()}
    plan = Plan(outputs, sources.paths, coverage, tuple(dict.fromkeys(warnings)), sizes)
    return Session(recipe, options, sources, plan, planner, checker, expressions)


def resolve_blocks(
    text: str, sources: Sources, recipe: Recipe, options: RunOptions, warnings: list[str]
) -> BlockWeights:
    """Block weights for the family at hand, with the person's policy for missing blocks."""
    family = sources.require_family()
    weights = parse_block_weights(text, family, {**options.presets, **recipe.blocks})
    if weights.unused:
        label = family.label
        warnings.append(f"{label} has no blocks {' '.join(weights.unused)}; their weights are not used")
    missing = options.missing_blocks
    return weights if missing is None else weights.with_missing(float(missing))


def check_outputs(session: Session, *, force: bool) -> None:
    """All that can be known of the outputs' places before work begins, free space included.

    force: files that exist may be replaced; see `existing_outputs`.
    """
    inputs = list(session.plan.inputs.values())
    seen: dict[Path, str] = {}
    need: dict[Path, int] = {}
    for output in session.plan.outputs:
        path = output.save.file
        if isinstance(path, MemoryPath):
            continue
        # Before anything is refused: a run killed while it named its output left a second name behind.
        place = real_path(path)
        remove_stale(place)
        if isinstance(output, WeightsOutput) and output.folder is not None:
            check_folder(path, inputs)
        else:
            check_output(path, inputs, force)
        if isinstance(output, WeightsOutput) and output.config is not None:
            config = config_target(path)
            remove_stale(real_path(config))
            check_output(config, [*inputs, output.config], force, suffix=CONFIG)
        other = seen.setdefault(place, output.save.step)
        if other != output.save.step:
            raise InputError(
                "two steps are saved to one file", where=f"{path}: '{other}', '{output.save.step}'"
            )
        size = output.nbytes if isinstance(output, WeightsOutput) else 0
        need[place.parent] = need.get(place.parent, 0) + size
    for folder, size in need.items():
        free = free_space(folder)
        if size > free:
            raise MachineError(
                f"not enough disk space: {size / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free",
                where=str(folder),
                fix=f"free some space, or choose another folder with {option('output')}",
            )


def existing_outputs(session: Session) -> list[Path]:
    """Files that a run would have to replace, configs beside checkpoints included."""
    found: list[Path] = []
    for output in session.plan.outputs:
        if not isinstance(file := output.save.file, MemoryPath):
            found.append(file)
            if isinstance(output, WeightsOutput) and output.config is not None:
                found.append(config_target(file))
    return [path for path in found if os.path.lexists(path) and not _is_empty(path)]


def _is_empty(path: Path) -> bool:
    """Whether it is a folder with nothing in it, in whose place one may be written."""
    return path.is_dir() and not any(path.iterdir())


@dataclass(frozen=True, slots=True)
class InputUse:
    """How much of one input a run reads. tensors: read or copied;  nbytes: of them;  of: in the file."""

    name: str
    path: Path
    kind: str
    tensors: int
    nbytes: int
    of: int


def input_uses(session: Session) -> list[InputUse]:
    """One entry for each input that the formulas name, in the recipe's order; what cancels is not read."""
    read: dict[str, dict[str, int]] = {name: {} for name in session.plan.inputs}
    for output in session.plan.outputs:
        for name, key in _keys_read(session, output):
            read[name][key] = _size(session, name, key)
    kinds = session.sources.kinds
    return [
        InputUse(
            name,
            session.plan.inputs[name],
            kinds[name],
            len(read[name]),
            sum(read[name].values()),
            sum(info.nbytes for info in session.sources.files[name].stored.tensors.values()),
        )
        for name in dict.fromkeys([*session.recipe.inputs, *read])
        if name in read
    ]


def _size(session: Session, name: str, key: str) -> int:
    """Bytes of a tensor; of a checkpoint, by the name it has in outputs."""
    held = session.sources.checkpoints.get(name)
    info = held.tensors[key] if held else session.sources.adapters[name].file.header.tensors[key]
    return info.bytes_in_file


def _keys_read(session: Session, output: Output) -> Iterator[tuple[str, str]]:
    """(input, tensor key) of everything that one output takes."""
    if isinstance(output, WeightsOutput):
        for tensor in output.tensors:
            if tensor.action == "copy":
                assert tensor.unit.key is not None
                yield tensor.primary, tensor.unit.key
            else:
                yield from _keys_of_unit(session, tensor.expression, tensor.unit)
    else:
        for unit in output.units:
            yield from _keys_of_unit(session, output.leaf.expression, unit)


def _keys_of_unit(session: Session, expression: LinearExpression, unit: Unit) -> Iterator[tuple[str, str]]:
    for row_slice in unit.slices:
        slice_sum = session.planner.specializer.specialize(expression, unit, row_slice)
        for term in (*slice_sum.dense, *slice_sum.lowrank):
            yield from _keys_of_leaf(session, term.leaf, unit, row_slice)


def _keys_of_leaf(session: Session, leaf: Leaf, unit: Unit, row_slice: RowSlice) -> Iterator[tuple[str, str]]:
    if isinstance(leaf, CheckpointLeaf):
        assert unit.key is not None
        yield leaf.name, unit.key
    elif isinstance(leaf, AdapterLeaf):
        assert row_slice.module is not None
        held = session.sources.adapters[leaf.name].modules[row_slice.module.name]
        yield from ((leaf.name, info.name) for info in held.tensors.values())
    for expression in inner_expressions(leaf):
        yield from _keys_of_unit(session, expression, unit)
