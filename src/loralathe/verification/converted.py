"""A LoRA that was written under other names, against the one that it was made from: every byte, anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from loralathe.adapters import (
    WRITTEN,
    Adapter,
    NamedTensor,
    PeftParts,
    canonical_of_raw,
    home_of,
    open_adapter,
    rewriting,
    split_adapter_key,
)
from loralathe.engine import Record
from loralathe.engine.options import DTYPES
from loralathe.engine.record import CONVERTED
from loralathe.errors import InputError
from loralathe.families import OTHER, family_by_id, in_model_order, label_of_module
from loralathe.progress import Progress
from loralathe.tensorfiles import TensorFile, tensor_bytes
from loralathe.verification.facts import Finding, TensorCheck, Verification, block_check
from loralathe.verification.from_record import find_inputs


def verify_converted(
    path: Path,
    file: TensorFile,
    record: Record,
    given: Mapping[str, Path] | None,
    search: Sequence[Path],
    progress: Progress,
) -> Verification:
    """Write the LoRA again, in memory, and compare.

    Raises InputError for one that was made with a base: what it holds was decomposed, not renamed.
    """
    inputs = find_inputs(record, path, given, search, progress)
    if "rank" in record.choices:
        raise InputError(
            "what this LoRA holds was decomposed when it was converted, and cannot be told from its inputs",
            where=str(path),
            fix="convert the LoRA again, and compare the two files with lathe compare",
        )
    family = family_by_id(str(record.choices.get("family")))
    with open_adapter(inputs["lora"], family, with_weights=True) as adapter:
        checks = list(_checks(file, adapter, record))
    labels = in_model_order({check.block: None for check in checks}, adapter.family)
    by_block = defaultdict(list)
    for check in checks:
        by_block[check.block].append(check)
    return Verification(
        path=file.path,
        kind="adapter",
        version=record.version,
        save=record.save,
        formula=record.steps[CONVERTED],
        inputs=inputs,
        by_name=tuple(name for name, entry in record.inputs.items() if entry.sha256 is None),
        exact=True,
        blocks=tuple(block_check(label, len(by_block[label]), by_block[label]) for label in labels),
        total=block_check("total", len(checks), checks),
        findings=tuple(Finding(check.name, problem) for check in checks for problem in check.problems),
    )


def _wanted(adapter: Adapter, record: Record, *, joined: bool) -> Iterable[NamedTensor]:
    """joined: the folders of all networks are one file."""
    dtype = record.choices.get("dtype")
    own = DTYPES[str(dtype) if dtype else "source"]
    network = record.choices.get("network")
    if network is None:
        return rewriting(adapter, WRITTEN[str(record.choices["to"])]).tensors(own)
    found = PeftParts(adapter).tensors(own)
    if joined:
        return (one._replace(name=f"{folder}.{one.name}") for folder, one in found)
    return (one for folder, one in found if folder == network)


def _checks(file: TensorFile, adapter: Adapter, record: Record) -> Iterator[TensorCheck]:
    left = dict(file.header.tensors)
    joined = len(file.files) > 1
    home = "" if joined else str(record.choices.get("network", home_of(file.path)))

    def block_of(name: str) -> str:
        raw = (split_adapter_key(name) or (name, ""))[0]
        module = canonical_of_raw(adapter.family, raw, home)
        return label_of_module(adapter.family, module) if module else OTHER

    for one in _wanted(adapter, record, joined=joined):
        info = left.pop(one.name, None)
        problems: tuple[str, ...] = ()
        if info is None:
            problems = ("the tensor is missing",)
        elif (info.dtype, info.shape) != (one.dtype, tuple(one.tensor.shape)):
            problems = ("it has another shape or type than the LoRA gives",)
        elif file.read_bytes(one.name) != tensor_bytes(one.tensor):
            problems = ("it is not the LoRA's",)
        yield TensorCheck(one.name, block_of(one.name), "copied", one.tensor.numel(), problems=problems)
    for name, info in left.items():
        problem = "the LoRA gives no such tensor"
        yield TensorCheck(name, block_of(name), "copied", info.numel, problems=(problem,))
