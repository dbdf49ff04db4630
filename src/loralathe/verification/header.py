"""What a file says about its tensors and about itself, held against what a run would write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from loralathe.engine.plan import Output, WeightsOutput
from loralathe.engine.record import KEY, metadata_of
from loralathe.engine.session import Session
from loralathe.tensorfiles import (
    LENGTH_BYTES,
    Header,
    TensorFile,
    TensorSpec,
    encode_header,
    legacy_hash,
    model_hash,
    read_at,
)
from loralathe.verification.facts import Finding
from loralathe.verification.read_record import Record

SHOWN = 60
"""Characters of a metadata value that a finding shows."""


def check_tensors(header: Header, wanted: Sequence[TensorSpec]) -> Iterator[Finding]:
    """Tensors missing, too many, of another dtype or shape, or in another order."""
    names = {spec.name for spec in wanted}
    for name in header.tensors:
        if name not in names:
            yield Finding(name, "the recipe gives no such tensor")
    for spec in wanted:
        info = header.tensors.get(spec.name)
        if info is None:
            yield Finding(spec.name, "the tensor is missing")
        elif (info.dtype, info.shape) != (spec.dtype, spec.shape):
            yield Finding(
                spec.name,
                f"it is {info.dtype} {list(info.shape)}, the recipe gives {spec.dtype} {list(spec.shape)}",
            )
    there = [name for name in header.tensors if name in names]
    if there != [spec.name for spec in wanted if spec.name in header.tensors]:
        yield Finding("header", "the tensors are in another order")


def check_metadata(
    session: Session, output: Output, record: Record, file: TensorFile, hashes: Mapping[str, str] | None
) -> Iterator[Finding]:
    """Every entry of the metadata, the record among them; for adapters the hashes of their tensors, too.

    hashes: of the inputs, as they lie there now.
    """
    wanted = metadata_of(session, output, hashes)
    if isinstance(output, WeightsOutput):
        wanted = wanted | _unchanged(record, file, wanted)
    else:
        wanted |= _unchanged(record, file, wanted)
        wanted |= {"sshs_model_hash": model_hash(file.path), "sshs_legacy_hash": legacy_hash(file.path)}
    there = file.header.metadata
    for key in sorted({*there, *wanted}):
        if there.get(key) != wanted.get(key):
            yield _entry(key, there.get(key), wanted.get(key))
    if dict(there) == wanted and not _is_as_written(file, wanted):
        yield Finding("header", "it says the same in other bytes (did another program save the file?)")


def _unchanged(record: Record, file: TensorFile, wanted: Mapping[str, str]) -> dict[str, str]:
    """The record as it is, where it could not be the same: another version writes its own number."""
    if record.is_ours:
        return {}
    there = json.loads(file.header.metadata[KEY])
    ours = json.loads(wanted[KEY])
    same = {key: there.get(key) for key in ours if key != "version"}
    del ours["version"]
    return {KEY: file.header.metadata[KEY]} if _without_sizes(same) == _without_sizes(ours) else {}


def _without_sizes(record: Mapping[str, object]) -> dict[str, object]:
    """Versions before 0.2 did not record sizes."""
    inputs = record.get("inputs")
    if not isinstance(inputs, dict):
        return dict(record)
    plain = {
        name: {key: value for key, value in entry.items() if key != "size"}
        for name, entry in inputs.items()
        if isinstance(entry, dict)
    }
    return {**record, "inputs": plain}


def _entry(key: str, there: str | None, wanted: str | None) -> Finding:
    if key in ("sshs_model_hash", "sshs_legacy_hash"):
        return Finding(f"metadata '{key}'", "the tensors do not have this hash: bytes were changed since")
    if there is None:
        return Finding(f"metadata '{key}'", "the entry is missing")
    if wanted is None:
        return Finding(f"metadata '{key}'", "the recipe gives no such entry")
    at = next((i for i, pair in enumerate(zip(there, wanted, strict=False)) if pair[0] != pair[1]), 0)
    first = max(0, at - 10)
    parts = (text[first : first + SHOWN] for text in (there, wanted))
    return Finding(f"metadata '{key}'", "it says '…{}…', the recipe gives '…{}…'".format(*parts))


def _is_as_written(file: TensorFile, metadata: Mapping[str, str]) -> bool:
    """Whether the header's bytes are those of our writer, spaces at its end aside."""
    length = file.header.data_start - LENGTH_BYTES
    text = bytearray(length)
    read_at(file.fileno(), memoryview(text), LENGTH_BYTES, str(file.path))
    encoded = encode_header(file.header.tensors.values(), metadata)[LENGTH_BYTES:]
    return bytes(text).rstrip(b" ") == encoded.rstrip(b" ")
