"""What a plan will read: bytes of every input; what cancels is not read at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loralathe.engine.plan import Output, WeightsOutput
from loralathe.engine.run import Session
from loralathe.engine.units import RowSlice, Unit
from loralathe.language.expressions import (
    AdapterLeaf,
    CheckpointLeaf,
    Leaf,
    LinearExpression,
    inner_expressions,
)
from loralathe.tensorfiles import TensorFile


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
    """One entry for each input that the formulas name, in the recipe's order."""
    read: dict[str, dict[str, int]] = {name: {} for name in session.plan.inputs}
    for output in session.plan.outputs:
        for name, key in _keys(session, output):
            read[name][key] = _size(session, name, key)
    kinds = session.sources.kinds
    return [
        InputUse(
            name,
            session.plan.inputs[name],
            kinds[name],
            len(read[name]),
            sum(read[name].values()),
            sum(info.nbytes for info in _file(session, name).header.tensors.values()),
        )
        for name in dict.fromkeys([*session.recipe.inputs, *read])
        if name in read
    ]


def _size(session: Session, name: str, key: str) -> int:
    """Bytes of a tensor; of a checkpoint, by the name it has in outputs."""
    held = session.sources.checkpoints.get(name)
    info = held.tensors[key] if held else session.sources.adapters[name].file.header.tensors[key]
    return info.nbytes


def _file(session: Session, name: str) -> TensorFile:
    sources = session.sources
    return sources.checkpoints[name].file if name in sources.checkpoints else sources.adapters[name].file


def _keys(session: Session, output: Output) -> Iterator[tuple[str, str]]:
    """(input, tensor key) of everything that one output takes."""
    if isinstance(output, WeightsOutput):
        for tensor in output.tensors:
            expression = tensor.instead or output.expression
            if tensor.action == "copy":
                assert tensor.unit.key is not None
                yield output.primary_of(tensor), tensor.unit.key
            else:
                yield from _of_unit(session, expression, tensor.unit)
    else:
        for unit in output.units:
            yield from _of_unit(session, output.leaf.expression, unit)


def _of_unit(session: Session, expression: LinearExpression, unit: Unit) -> Iterator[tuple[str, str]]:
    for row_slice in unit.slices:
        slice_sum = session.planner.specializer.specialize(expression, unit, row_slice)
        for term in (*slice_sum.dense, *slice_sum.lowrank):
            yield from _of_leaf(session, term.leaf, unit, row_slice)


def _of_leaf(session: Session, leaf: Leaf, unit: Unit, row_slice: RowSlice) -> Iterator[tuple[str, str]]:
    if isinstance(leaf, CheckpointLeaf):
        assert unit.key is not None
        yield leaf.name, unit.key
    elif isinstance(leaf, AdapterLeaf):
        assert row_slice.module is not None
        held = session.sources.adapters[leaf.name].modules[row_slice.module.name]
        yield from ((leaf.name, info.name) for info in held.tensors.values())
    for expression in inner_expressions(leaf):
        yield from _of_unit(session, expression, unit)
