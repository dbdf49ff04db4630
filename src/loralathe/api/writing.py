"""Writes a LoRA in a dialect: into a file, a folder of PEFT, or memory; with a record of what it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.errors import InputError, option
from loralathe.progress import Progress
from loralathe.tensorfiles import (
    MODEL_SUFFIXES,
    AdapterWriter,
    MemoryPath,
    check_folder,
    check_output,
    made_folders,
)

if TYPE_CHECKING:
    import torch

    from loralathe.adapters import Adapter, NamedTensor, Rewriting
    from loralathe.engine import RunOptions

PEFT = "peft"


@dataclass(frozen=True)
class Written:
    """path: None in memory, where it is `tensors`;  dtypes: numbers by type."""

    path: Path | None
    dtypes: Mapping[str, int]
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class LoraWriting:
    """Where a LoRA goes, and in which dialect. dtype: as options name it."""

    to: str
    target: Path
    dtype: str | None
    options: RunOptions
    progress: Progress | None

    @property
    def in_folder(self) -> bool:
        """Whether the target is a folder, as PEFT keeps a LoRA."""
        if isinstance(self.target, MemoryPath):
            return False
        return self.target.is_dir() or self.target.suffix.casefold() not in MODEL_SUFFIXES

    def check(self, inputs: Iterable[Path]) -> None:
        """InputError for a target that cannot be written, before anything is read."""
        if isinstance(self.target, MemoryPath):
            return
        if not self.in_folder:
            check_output(self.target, inputs, self.options.force)
        elif self.to == PEFT:
            check_folder(self.target)
        else:
            raise InputError(
                f"a LoRA for {self.to} is one file",
                where=str(self.target),
                fix=f"name it '{self.target.name}.safetensors'; "
                f"only {option('to', PEFT)} writes a folder, with a config of PEFT",
            )

    def rewriting(self, adapter: Adapter) -> Rewriting:
        """What becomes of it there, from headers alone."""
        from loralathe.adapters import WRITTEN, PeftParts, rewriting

        return PeftParts(adapter).found if self.in_folder else rewriting(adapter, WRITTEN[self.to])

    def write(
        self,
        adapter: Adapter,
        metadata: Mapping[str, str],
        inputs: Mapping[str, Path],
        rank: int | None = None,
    ) -> Written:
        """All of an adapter. metadata: of the result;  inputs, rank: what its record says it was made of."""
        if self.in_folder:
            return self._write_folder(adapter, metadata, inputs, rank)
        found = self.rewriting(adapter).tensors(self._file_dtype)
        dtypes: Counter[str] = Counter()
        if isinstance(self.target, MemoryPath):
            held = {one.name: one.tensor for one in _counted(found, dtypes)}
            return Written(None, dict(dtypes), held)
        kept, files = self._with_record(metadata, adapter.family.id, inputs, rank), list(inputs.values())
        with AdapterWriter(self.target, kept, force=self.options.force, inputs=files) as writer:
            for one in _counted(found, dtypes):
                _add(writer, one)
            return Written(writer.commit(), dict(dtypes))

    def _write_folder(
        self, adapter: Adapter, metadata: Mapping[str, str], inputs: Mapping[str, Path], rank: int | None
    ) -> Written:
        """adapter_model.safetensors and its config; in a folder for each network, where there are several."""
        from loralathe.adapters import PEFT_CONFIG, PEFT_WEIGHTS, PeftParts
        from loralathe.tensorfiles import StagedFolder, stage_bytes

        parts, dtypes = PeftParts(adapter), Counter[str]()
        folders = parts.networks
        with ExitStack() as stack:
            stack.enter_context(made_folders([self.target]))
            staged = StagedFolder(self.target)
            stack.callback(staged.discard)
            places = {name: staged.path / name if len(folders) > 1 else staged.path for name in folders}
            writers = {}
            for name, place in places.items():
                place.mkdir(exist_ok=True)
                kept = self._with_record(metadata, adapter.family.id, inputs, rank, name)
                writers[name] = stack.enter_context(AdapterWriter(place / PEFT_WEIGHTS, kept))
            for name, one in parts.tensors(self._file_dtype):
                _add(writers[name], one)
                dtypes[one.dtype] += one.tensor.numel()
            for name, place in places.items():
                writers[name].commit()
                text = json.dumps(parts.config(name), indent=2) + "\n"
                stage_bytes(place / PEFT_CONFIG, text.encode(), replace=False).commit()
            staged.commit()
        return Written(self.target, dict(dtypes))

    def _with_record(
        self,
        metadata: Mapping[str, str],
        family: str,
        inputs: Mapping[str, Path],
        rank: int | None,
        network: str | None = None,
    ) -> dict[str, str]:
        from loralathe.engine import KEY, conversion_record

        choices = {
            "to": self.to, "family": family, "dtype": self.dtype, "rank": rank, "network": network,
        }  # fmt: skip
        record = conversion_record(
            inputs, choices, hashes=self.options.hash_inputs, progress=self.progress or Progress()
        )
        return {**metadata, KEY: record}

    @property
    def _file_dtype(self) -> str | None:
        from loralathe.engine.options import DTYPES

        return DTYPES[self.dtype or "source"]


def _counted(tensors: Iterable[NamedTensor], dtypes: Counter[str]) -> Iterator[NamedTensor]:
    for one in tensors:
        dtypes[one.dtype] += one.tensor.numel()
        yield one


def _add(writer: AdapterWriter, one: NamedTensor) -> None:
    from loralathe.tensorfiles import tensor_bytes

    writer.add(one.name, one.dtype, tuple(one.tensor.shape), tensor_bytes(one.tensor))
