"""Which files an extraction should have been given, as far as the records in them tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations

from loralathe.engine.outputs import AdapterOutput
from loralathe.engine.record import KEY, RecordedInput, parse_record
from loralathe.engine.remarks import Remark, remark
from loralathe.engine.session import Session
from loralathe.errors import InputError
from loralathe.language import CheckpointLeaf


def base_remarks(session: Session, output: AdapterOutput, hashes: Mapping[str, str]) -> Iterator[Remark]:
    """Sentences about a model that is subtracted and is not the one that the other was made from, or was.

    hashes: of inputs by name; where they are not known, sizes and names of files decide what they can.
    """
    signs = {
        term.leaf.name: term.strength.unet
        for term in output.expression.terms
        if isinstance(term.leaf, CheckpointLeaf)
    }
    for tuned, base in permutations(signs, 2):
        if signs[tuned] > 0 > signs[base]:
            yield from _pair(session, tuned, base, hashes)


def base_warnings(session: Session) -> list[str]:
    """The same before a run, of all outputs: what names and sizes tell."""
    extractions = [output for output in session.plan.outputs if isinstance(output, AdapterOutput)]
    return [found.text for output in extractions for found in base_remarks(session, output, {})]


def _pair(session: Session, tuned: str, base: str, hashes: Mapping[str, str]) -> Iterator[Remark]:
    files = session.plan.inputs[tuned].name, session.plan.inputs[base].name
    if any(_is(session, given, tuned, hashes) for given in _recorded(session, base)):
        text = f"{files[1]} was made from {files[0]}: swap them, or the LoRA takes away what was added there"
        yield remark("swapped", text)
        return
    made_from = _recorded(session, tuned)
    if made_from and all(_is(session, given, base, hashes) is False for given in made_from):
        text = (
            f"{files[0]} was made from {made_from[0].file}, and not from {files[1]}: "
            "the LoRA also holds what these two differ by"
        )
        yield remark("other base", text)


def _recorded(session: Session, name: str) -> list[RecordedInput]:
    """What a checkpoint was made from, the first one of its formula first; nothing where no record tells."""
    metadata = session.sources.checkpoints[name].file.header.metadata
    if KEY not in metadata:
        return []
    try:
        return list(parse_record(metadata, name).inputs.values())
    except InputError:
        # A damaged record tells nothing about the base; the model can be used all the same.
        return []


def _is(session: Session, recorded: RecordedInput, name: str, hashes: Mapping[str, str]) -> bool | None:
    """Whether a recorded file is an input of this run; None where it may be."""
    if recorded.sha256 is not None and name in hashes:
        return recorded.sha256 == hashes[name]
    if recorded.size is not None and recorded.size != session.plan.sizes[name]:
        return False
    return True if recorded.file == session.plan.inputs[name].name else None
