"""What a plan will read: bytes of every input; what cancels is not read at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loralathe.engine.plan import Output, WeightsOutput
from loralathe.engine.run import Session
from loralathe.engine.units import Slice, Unit
from loralathe.language.forms import (
    AdapterLeaf,
    CheckpointLeaf,
    Form,
    Leaf,
    inner_forms,
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
            form = tensor.instead or output.form
            if tensor.action == "copy":
                assert tensor.unit.key is not None
                yield output.primary_of(tensor), tensor.unit.key
            else:
                yield from _of_unit(session, form, tensor.unit)
    else:
        for unit in output.units:
            yield from _of_unit(session, output.leaf.form, unit)


def _of_unit(session: Session, form: Form, unit: Unit) -> Iterator[tuple[str, str]]:
    for piece in unit.slices:
        local = session.planner.localiser.local(form, unit, piece)
        for term in (*local.dense, *local.lowrank):
            yield from _of_leaf(session, term.leaf, unit, piece)


def _of_leaf(session: Session, leaf: Leaf, unit: Unit, piece: Slice) -> Iterator[tuple[str, str]]:
    if isinstance(leaf, CheckpointLeaf):
        assert unit.key is not None
        yield leaf.name, unit.key
    elif isinstance(leaf, AdapterLeaf):
        assert piece.module is not None
        held = session.sources.adapters[leaf.name].modules[piece.module.name]
        yield from ((leaf.name, info.name) for info in held.tensors.values())
    for form in inner_forms(leaf):
        yield from _of_unit(session, form, unit)
