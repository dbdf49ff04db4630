"""Where results go: files, or memory for those who only want to look (studies)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from loralathe.adapters import AdapterFormat, completions, kohya_tensors, zero_tensors
from loralathe.engine.energies import ModuleRecord
from loralathe.engine.folder_sink import FolderWeights
from loralathe.engine.options import RunOptions
from loralathe.engine.outputs import AdapterOutput, WeightsOutput
from loralathe.engine.sidecars import config_target
from loralathe.errors import InputError, option
from loralathe.families import Family, Module
from loralathe.lowrank import Factors
from loralathe.tensorfiles import (
    AdapterWriter,
    CheckpointWriter,
    MemoryPath,
    StagedFile,
    TensorFile,
    read_small,
    stage_bytes,
    tensor_bytes,
    to_torch_dtype,
)


class WeightsSink(Protocol):
    """Takes the tensors of a checkpoint, from any thread."""

    def write(self, key: str, rows: Tensor, start: int) -> None: ...
    def copy(self, key: str, source: TensorFile, source_key: str) -> None: ...
    def commit(self, metadata: Mapping[str, str]) -> Path | None: ...
    def abort(self) -> None: ...


class AdapterSink(Protocol):
    """Takes the factors of an adapter, from any thread, and the record of every tensor looked at."""

    records: list[ModuleRecord]

    def add(self, module: Module, up: Tensor, down: Tensor, shape: tuple[int, ...]) -> None: ...
    def record(self, record: ModuleRecord) -> None: ...
    def commit(self, metadata: Mapping[str, str]) -> Path | None: ...
    def abort(self) -> None: ...


@dataclass(frozen=True)
class Sinks:
    """The sink of every output, by step."""

    weights: Mapping[str, WeightsSink] = field(default_factory=dict)
    adapters: Mapping[str, AdapterSink] = field(default_factory=dict)


class FileWeights:
    """A checkpoint file; `metadata` must have its final length, hashes may follow on commit."""

    tensors: Mapping[str, Tensor] = MappingProxyType({})

    def __init__(
        self, output: WeightsOutput, metadata: Mapping[str, str], inputs: list[Path], options: RunOptions
    ) -> None:
        specs = [tensor.spec for tensor in output.tensors]
        path, self._force = output.save.file, options.force
        self._writer = CheckpointWriter(path, specs, metadata, force=self._force, inputs=inputs)
        self._config: StagedFile | None = None
        if output.config is not None:
            try:
                config = read_small(output.config, "config file")
                self._config = stage_bytes(config_target(path), config, replace=self._force)
            except BaseException:
                self._writer.abort()
                raise

    def write(self, key: str, rows: Tensor, start: int) -> None:
        self._writer.write(key, tensor_bytes(rows), start)

    def copy(self, key: str, source: TensorFile, source_key: str) -> None:
        self._writer.copy_from(key, source, source_key)

    def commit(self, metadata: Mapping[str, str]) -> Path:
        self._writer.set_metadata(metadata)
        if self._config is None:
            return self._writer.commit()
        # The config first: a model without it may be taken for another kind.
        self._config.commit()
        try:
            return self._writer.commit()
        except BaseException:
            if not self._force:
                self._config.target.unlink(missing_ok=True)
            raise

    def abort(self) -> None:
        self._writer.abort()
        if self._config is not None:
            self._config.discard()


class MemoryWeights:
    """A checkpoint as a dictionary of tensors in the output's dtypes."""

    def __init__(self, output: WeightsOutput) -> None:
        self.tensors: dict[str, Tensor] = {
            tensor.spec.name: torch.empty(tensor.spec.shape, dtype=to_torch_dtype(tensor.spec.dtype))
            for tensor in output.tensors
        }

    def write(self, key: str, rows: Tensor, start: int) -> None:
        target = self.tensors[key].view(-1)
        first = start // target.element_size()
        target[first : first + rows.numel()] = rows.reshape(-1)

    def copy(self, key: str, source: TensorFile, source_key: str) -> None:
        self.tensors[key] = source.read(source_key).reshape(self.tensors[key].shape)

    def commit(self, metadata: Mapping[str, str]) -> None:
        return None

    def abort(self) -> None:
        return


class MemoryAdapter:
    """An adapter as a dictionary of tensors in kohya naming; alpha is the nominal rank everywhere.

    completed: how many modules are zeros, see `completions`; known after `commit`.
    """

    def __init__(self, output: AdapterOutput, family: Family) -> None:
        self.records: list[ModuleRecord] = []
        self.completed = 0
        self.tensors: dict[str, Tensor] = {}
        self._file = output.save.file
        self._format = adapter_format(output, family)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._lock = threading.Lock()

    def add(self, module: Module, up: Tensor, down: Tensor, shape: tuple[int, ...]) -> None:
        factors = Factors(up, down, shape)
        with self._lock:
            self._shapes[module.name] = shape
        for name, dtype, tensor in kohya_tensors(module.name, factors, shape, self._format):
            self.keep(name, dtype, tensor)

    def keep(self, name: str, dtype: str, tensor: Tensor) -> None:
        with self._lock:
            self.tensors[name] = tensor

    def record(self, record: ModuleRecord) -> None:
        with self._lock:
            self.records.append(record)

    def commit(self, metadata: Mapping[str, str]) -> Path | None:
        if not any(record.rank for record in self.records):
            raise _nothing_held(self.records, self._file)
        missing = completions(self._shapes, self._format)
        self.completed = len(missing)
        for name, shape in missing.items():
            for tensor in zero_tensors(name, shape, self._format):
                self.keep(*tensor)
        self.tensors = dict(sorted(self.tensors.items()))
        return None

    def abort(self) -> None:
        return


class FileAdapter(MemoryAdapter):
    """The same as a file; its tensors do not stay in memory."""

    def __init__(
        self, output: AdapterOutput, family: Family, inputs: list[Path], options: RunOptions
    ) -> None:
        super().__init__(output, family)
        self._writer = AdapterWriter(output.save.file, {}, force=options.force, inputs=inputs)

    def keep(self, name: str, dtype: str, tensor: Tensor) -> None:
        self._writer.add(name, dtype, tuple(tensor.shape), tensor_bytes(tensor))

    def commit(self, metadata: Mapping[str, str]) -> Path | None:
        super().commit(metadata)
        return self._writer.commit(metadata)

    def abort(self) -> None:
        self._writer.abort()


def weights_sink(
    output: WeightsOutput, metadata: Mapping[str, str], inputs: list[Path], options: RunOptions
) -> FileWeights | FolderWeights | MemoryWeights:
    """Where a checkpoint goes: to its file, its folder, or into memory where its file is a `MemoryPath`."""
    if isinstance(output.save.file, MemoryPath):
        return MemoryWeights(output)
    if output.folder is not None:
        return FolderWeights(output, output.folder, metadata, inputs)
    return FileWeights(output, metadata, inputs, options)


def adapter_sink(
    output: AdapterOutput, family: Family, inputs: list[Path], options: RunOptions
) -> MemoryAdapter:
    """The same for an adapter."""
    if isinstance(output.save.file, MemoryPath):
        return MemoryAdapter(output, family)
    return FileAdapter(output, family, inputs, options)


def _nothing_held(records: Iterable[ModuleRecord], path: Path) -> InputError:
    """Why not one layer got a direction."""
    lost = {record.reason for record in records if record.energy > 0}
    if "noise" in lost:
        why, fix = (
            "what differs lies under the rounding noise of the files",
            f"{option('keep_noise', True)} keeps it",
        )
    elif "small" in lost:
        why, fix = "no layer differs by more than min_diff", "give a smaller one"
    elif lost:
        why = "what differs is in layers that this LoRA leaves out"
        fix = (
            f"{option('conv_rank')} takes resnets and samplers in, "
            f"{option('te1', True)} and the like text encoders"
        )
    else:
        why = "nothing differs"
        fix = "subtract two different models; compare shows what one of them lacks"
    return InputError(f"there is nothing to write: {why}", where=str(path), fix=fix)


def adapter_format(output: AdapterOutput, family: Family) -> AdapterFormat:
    """How the tensors of an adapter output are written."""
    options = output.leaf.options
    pad_to = max(output.nominal, options.conv_rank or 0) if options.pad_ranks else None
    return AdapterFormat(family, float(output.nominal), output.dtype, pad_to)
