"""Verify one file: find its inputs, plan what made it, sample, check, report."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from loralathe.engine import (
    KEY,
    AdapterOutput,
    BudgetSurvey,
    Output,
    Record,
    RowSlice,
    RunOptions,
    Session,
    TensorPlan,
    Unit,
    WeightsOutput,
    bundled_words,
    in_parallel,
    in_scope,
    metadata_of,
    open_session,
    parse_record,
    prepared,
    resolve_blocks,
)
from loralathe.families import in_model_order, in_original_layout, label_of_key, label_of_module
from loralathe.language import DIFFUSERS, AdapterLeaf, ExtractLeaf, Leaf
from loralathe.progress import Progress
from loralathe.strengths import parse_elements
from loralathe.tensorfiles import (
    LENGTH_BYTES,
    Header,
    TensorFile,
    TensorInfo,
    TensorSpec,
    encode_header,
    legacy_hash,
    model_hash,
    open_tensorfile,
    read_at,
)
from loralathe.verification.converted import verify_converted
from loralathe.verification.extracted import PARTS, AdapterChecker
from loralathe.verification.facts import Finding, TensorCheck, Verification, VerifyOptions, block_check
from loralathe.verification.from_record import device_here, find_inputs
from loralathe.verification.linear import Linear
from loralathe.verification.replay import Replay
from loralathe.verification.weights import WeightsChecker

SHOWN = 60
"""Characters of a metadata value that a finding shows."""

T = TypeVar("T")
R = TypeVar("R")


def verify_file(
    path: Path,
    given: Mapping[str, Path] | None = None,
    search: Sequence[Path] = (),
    options: VerifyOptions | None = None,
    run: RunOptions | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Compute sampled tensors of `path` again from its recorded recipe and inputs, and compare.

    given, search: where the inputs are, see `find_inputs`;  run: threads and device, the rest is recorded.
    On another device than the recorded one bytes are not compared.
    Raises InputError for a file without a record or with a damaged one, and for inputs that are not found
    or have changed; what does not match is a finding of the result, not an error.
    """
    options, run, progress = options or VerifyOptions(), run or RunOptions(), progress or Progress()
    with open_tensorfile(path) as opened_file:
        record = parse_record(opened_file.header.metadata, path.name)
        if record.is_conversion:
            return verify_converted(path, opened_file, record, given, search, progress)
        in_folder = record.choices.get("layout") == DIFFUSERS
        file = in_original_layout(opened_file) if in_folder else opened_file
        inputs = find_inputs(record, path, given, search, progress)
        recipe = record.recipe(inputs, path)
        recorded = record.options(run)
        device = run.device if run.device != "cpu" else device_here(recorded.device, progress)
        if device.partition(":")[0] != recorded.device:
            options = replace(options, exact=False)
        hashes = {name: entry.sha256 for name, entry in record.inputs.items() if entry.sha256}
        opened = open_session(recipe, replace(recorded, device=device))
        with opened as session, prepared(device), BudgetSurvey(None) as budget_survey:
            work = _Work(session, record, file, options, progress, budget_survey)
            as_recorded = replace(session, options=recorded)
            findings = list(_check_metadata(as_recorded, work.output, record, file, hashes))
            verified = work.run(inputs, findings)
            session.sources.require_unchanged()
            return verified


class _Work:
    """One verification under way."""

    def __init__(
        self,
        session: Session,
        record: Record,
        file: TensorFile,
        options: VerifyOptions,
        progress: Progress,
        budget_survey: BudgetSurvey,
    ) -> None:
        self.session = session
        self.record = record
        self.file = file
        self.options = options
        self.progress = progress
        (self.output,) = session.plan.outputs
        self.linear = _linear(session)
        self.replay = Replay(session, self.output, file, budget_survey, progress)

    def run(self, inputs: Mapping[str, Path], findings: list[Finding]) -> Verification:
        if isinstance(self.output, WeightsOutput):
            counts, checks = self._weights(self.output, findings)
        else:
            counts, checks = self._adapter(self.output, findings)
        found = findings + [Finding(check.name, problem) for check in checks for problem in check.problems]
        family = self.session.sources.family
        labels = in_model_order(counts, family)
        return Verification(
            path=self.file.path,
            kind="checkpoint" if isinstance(self.output, WeightsOutput) else "adapter",
            version=self.record.version,
            save=self.record.save,
            formula=self.record.steps[self.record.save],
            inputs=inputs,
            by_name=tuple(name for name, entry in self.record.inputs.items() if entry.sha256 is None),
            exact=self.options.exact,
            blocks=tuple(
                block_check(label, counts[label], [check for check in checks if check.block == label])
                for label in labels
            ),
            total=block_check("total", sum(counts.values()), checks),
            findings=tuple(found),
            notes=tuple(self._notes(checks)),
        )

    def _weights(
        self, output: WeightsOutput, findings: list[Finding]
    ) -> tuple[dict[str, int], list[TensorCheck]]:
        specs = [tensor.spec for tensor in output.tensors]
        findings += _check_tensors(self.file.header, specs, in_folder=output.folder is not None)
        family = self.session.sources.require_family()
        spoilt = {finding.place for finding in findings}
        labels = {tensor.spec.name: label_of_key(family, tensor.spec.name) for tensor in output.tensors}
        sound = [tensor for tensor in output.tensors if tensor.spec.name not in spoilt]
        added = [leaf for leaf in output.expression.leaves if isinstance(leaf, (AdapterLeaf, ExtractLeaf))]
        sample = self._sample(
            sound, lambda tensor: (labels[tensor.spec.name], tensor.action, self._reaching(tensor, added))
        )
        checker = WeightsChecker(
            self.session, output, self.file, self.linear, self.replay, self.options.exact
        )

        def check(tensor: TensorPlan) -> TensorCheck:
            return checker.check(tensor, labels[tensor.spec.name])

        checks = self._all(sample, check, lambda tensor: tensor.spec.nbytes, checker.memory)
        return Counter(labels.values()), checks

    def _adapter(
        self, output: AdapterOutput, findings: list[Finding]
    ) -> tuple[dict[str, int], list[TensorCheck]]:
        family = self.session.sources.require_family()
        checker = AdapterChecker(
            self.session, output, self.file, self.linear, self.replay, self.options.exact
        )
        units = [unit for unit in output.units if checker.names(unit)]
        labels = {
            unit: label_of_module(family, next(iter(checker.names(unit).values())).address.name)
            for unit in units
        }
        possible = {name for unit in units for name in checker.names(unit)} | checker.zeros
        words = {info.name: (file, info) for file, info in bundled_words(self.session, output)}
        findings += _unrecognized_keys(self.file, possible, words)
        findings += _check_words(self.file, words)
        if self.record.is_ours:
            findings += checker.check_zeros()
        sample = self._sample(units, lambda unit: labels[unit])

        def check(unit: Unit) -> list[TensorCheck]:
            return checker.check(unit, labels[unit])

        lists = self._all(sample, check, lambda unit: 2 * unit.numel, checker.memory)
        spoilt = {finding.place for finding in findings}
        counts = Counter(
            labels[unit] for unit in units for name in checker.names(unit) if checker.holds(name)
        )
        checks = [found for group in lists for found in group if found.name not in spoilt]
        return {label: counts[label] for label in dict.fromkeys(labels.values())}, checks

    def _reaching(self, tensor: TensorPlan, leaves: Sequence[AdapterLeaf | ExtractLeaf]) -> tuple[Leaf, ...]:
        """Those leaves that hold something of a tensor, whatever strength the recipe gives them there.

        Sampled apart, lest a wrong strength hides among tensors that have none.
        """
        modules = [row_slice for row_slice in tensor.unit.slices if row_slice.module is not None]
        adapters = self.session.sources.adapters

        def holds(leaf: AdapterLeaf | ExtractLeaf, row_slice: RowSlice) -> bool:
            if isinstance(leaf, ExtractLeaf):
                return in_scope(row_slice, leaf.options)
            return row_slice.address.name in adapters[leaf.name].modules

        return tuple(leaf for leaf in leaves if any(holds(leaf, row_slice) for row_slice in modules))

    def _sample(self, items: Sequence[T], group: Callable[[T], object]) -> list[T]:
        """A share of each group, in the order of the items; the seed decides which."""
        if self.options.everything:
            return list(items)
        groups: dict[object, list[int]] = {}
        for number, item in enumerate(items):
            groups.setdefault(group(item), []).append(number)
        chance = random.Random(self.options.seed)
        chosen: set[int] = set()
        for members in groups.values():
            count = max(self.options.least, math.ceil(self.options.share * len(members)))
            chosen.update(chance.sample(members, min(count, len(members))))
        return [items[number] for number in sorted(chosen)]

    def _all(
        self,
        items: Sequence[T],
        check: Callable[[T], R],
        size: Callable[[T], int],
        memory: Callable[[T], int],
    ) -> list[R]:
        options = self.session.options
        with self.progress.task("verifying", sum(map(size, items))) as task:
            return in_parallel(
                items,
                check,
                size,
                task,
                options.threads,
                memory,
                limit=options.memory,
                device=options.device,
                stop=self.replay.stop,
            )

    def _notes(self, checks: Sequence[TensorCheck]) -> Iterable[str]:
        replayed = sum(check.kind == "replayed" for check in checks)
        if replayed:
            yield (
                f"{replayed} tensors use functions or dtypes that have no float64 reference: "
                "they were compared with this version's own result only"
            )
        if any(isinstance(leaf, ExtractLeaf) for leaf in self.output.expression.leaves):
            yield (
                "extractions inside the recipe were made again by the engine itself: "
                "a truncated decomposition has no other exact value"
            )
        if not self.record.is_ours:
            yield f"made by loralathe {self.record.version}: other versions may differ in the last bits"


def _linear(session: Session) -> Linear:
    sources, recipe = session.sources, session.recipe
    return Linear(
        recipe,
        sources.kinds,
        lambda text: resolve_blocks(text, sources, recipe, session.options, []),
        lambda text: parse_elements(text, sources.require_family()),
        sources.require_family().long_blocks,
    )


Words = Mapping[str, tuple[TensorFile, TensorInfo]]
"""Embeddings that are bundled in: key → the input that has it, where it lies there."""


def _check_words(file: TensorFile, words: Words) -> Iterator[Finding]:
    for key, (source, info) in words.items():
        held = file.header.tensors.get(key)
        if held is None:
            yield Finding(key, "the tensor is missing")
        elif (held.dtype, held.shape) != (info.dtype, info.shape) or _raw(file, held) != _raw(source, info):
            yield Finding(key, "it is not the input's")


def _raw(file: TensorFile, info: TensorInfo) -> bytearray:
    data = bytearray(info.nbytes)
    file.readinto(info, memoryview(data))
    return data


def _unrecognized_keys(file: TensorFile, possible: set[str], words: Words) -> Iterable[Finding]:
    """Tensors that no module of the plan would have written, and modules that are not whole."""
    for key in file.header.tensors:
        name, _, part = key.partition(".")
        if key not in words and (name not in possible or part not in PARTS):
            yield Finding(key, "the recipe gives no such tensor")
    names = {key.partition(".")[0] for key in file.header.tensors} & possible
    for name in sorted(names):
        missing = [part for part in PARTS if f"{name}.{part}" not in file.header.tensors]
        if missing:
            yield Finding(name, f"{' and '.join(missing)} is missing")


def _check_tensors(header: Header, wanted: Sequence[TensorSpec], *, in_folder: bool) -> Iterator[Finding]:
    """Tensors missing, too many, of another dtype or shape, or in another order.

    in_folder: where order is another matter, and marks come from a config that a person may have put there.
    """
    names = {spec.name for spec in wanted}
    for name, found in header.tensors.items():
        if name not in names and not (in_folder and not found.nbytes):
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
    if not in_folder and there != [spec.name for spec in wanted if spec.name in header.tensors]:
        yield Finding("header", "the tensors are in another order")


def _check_metadata(
    session: Session, output: Output, record: Record, file: TensorFile, hashes: Mapping[str, str]
) -> Iterator[Finding]:
    """Every entry of the metadata, the record among them; for adapters the hashes of their tensors, too.

    hashes: of the inputs, which were found by them.
    """
    wanted = metadata_of(session, output, hashes)
    wanted |= _unchanged(record, file, wanted)
    if not isinstance(output, WeightsOutput):
        wanted |= {"sshs_model_hash": model_hash(file.path), "sshs_legacy_hash": legacy_hash(file.path)}
    there = file.header.metadata
    for key in sorted({*there, *wanted}):
        if there.get(key) != wanted.get(key):
            yield _entry(key, there.get(key), wanted.get(key))
    in_folder = isinstance(output, WeightsOutput) and output.folder is not None
    if not in_folder and dict(there) == wanted and not _is_as_written(file, wanted):
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
