"""The inputs of a run, open: what each file is, and which tensors it has under the family's own names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from loralathe.adapters import (
    Adapter,
    detect_adapter,
    fits_first_channels,
    is_adapter,
    read_adapter,
    require_one_family,
)
from loralathe.errors import InputError, counted, few
from loralathe.families import Detected, Family, Module, detect_checkpoint, in_original_layout
from loralathe.tensorfiles import DTYPES, TensorFile, TensorInfo, open_tensorfile


@dataclass(frozen=True)
class CheckpointSource:
    """A checkpoint open for reading.

    tensors: by the names that files of the family are matched by; an info's own name is the one in the file.
    """

    name: str
    file: TensorFile
    detected: Detected
    modules: Mapping[str, Module]
    tensors: Mapping[str, TensorInfo]

    @property
    def path(self) -> Path:
        return self.file.path

    def takes_part(self, key: str, shape: tuple[int, ...]) -> bool:
        """Whether its tensor can be added to one of this shape, which may have more input channels."""
        info = self.tensors.get(key)
        if info is None or info.shape == shape:
            return info is not None
        return key == self.detected.family.entry_key and fits_first_channels(info.shape, shape)

    def saved_dtype(self, key: str) -> str:
        """The dtype that an output gives the tensor unless another is asked for.

        Its own; bf16 for quantised weights, and for plain fp8 beside them.
        """
        info = self.tensors[key]
        dtype = DTYPES[info.dtype]
        is_coarse = self.file.is_quantised and dtype.is_float and dtype.bits < 16
        return "BF16" if info.stored is not None or is_coarse else info.dtype

    def saved_as(self, key: str) -> str:
        """What an output made from this checkpoint calls the tensor: one without prefix stays so."""
        own = self.tensors[key].name
        return own if self.detected.family.is_bare(own) else key


class Sources:
    """All inputs of a run, all of one family; `stack` closes the files."""

    def __init__(self, inputs: Mapping[str, Path], stack: ExitStack) -> None:
        self._stack = stack
        self._beside: list[TensorFile] = []
        self.checkpoints: dict[str, CheckpointSource] = {}
        self.adapters: dict[str, Adapter] = {}
        files = {name: stack.enter_context(open_tensorfile(path)) for name, path in inputs.items()}
        adapters = {name: file for name, file in files.items() if is_adapter(file.path, file.header.tensors)}
        for name, file in files.items():
            if name not in adapters:
                self.checkpoints[name] = _checkpoint(name, in_original_layout(file))
        self.family = self._common_family()
        for name, file in adapters.items():
            if self.family is None:
                detected = detect_adapter(file.header, str(file.path))
                require_one_family(file.header, detected, str(file.path))
            self.adapters[name] = read_adapter(file, self.family, with_weights=True)
        if self.family is None:
            self.family = _of_adapters(self.adapters.values())

    def require_family(self) -> Family:
        """The family of the inputs; every recipe that names blocks has at least one input."""
        if self.family is None:
            raise InputError(
                "the recipe uses no model and no adapter", fix="name at least one input in a saved step"
            )
        return self.family

    @property
    def kinds(self) -> dict[str, str]:
        return dict.fromkeys(self.checkpoints, "checkpoint") | dict.fromkeys(self.adapters, "adapter")

    @property
    def files(self) -> dict[str, TensorFile]:
        """Input name to open file, checkpoints first."""
        files = {name: source.file for name, source in self.checkpoints.items()}
        return files | {name: adapter.file for name, adapter in self.adapters.items()}

    @property
    def paths(self) -> dict[str, Path]:
        return {name: file.path for name, file in self.files.items()}

    def open_beside(self, path: Path) -> TensorFile:
        """A further file that a run reads from, closed with the others."""
        self._beside.append(self._stack.enter_context(open_tensorfile(path)))
        return self._beside[-1]

    def require_unchanged(self) -> None:
        """InputError when a file was changed while a run read it: what was made of it is of two files."""
        for file in (*self.files.values(), *self._beside):
            file.require_unchanged()

    def _common_family(self) -> Family | None:
        first: CheckpointSource | None = None
        for source in self.checkpoints.values():
            if first is None:
                first = source
            elif source.detected.family.id != first.detected.family.id:
                raise InputError(
                    "the checkpoints are of different families",
                    where=f"{first.path.name} is {first.detected.family.label}, "
                    f"{source.path.name} is {source.detected.family.label}",
                    fix="arithmetic needs models of one family",
                )
        return first.detected.family if first else None

    def warnings(self) -> Iterator[str]:
        """What is allowed but worth saying: mixed predictions, tensors of a training that are not read."""
        for file in self.files.values():
            if file.lost:
                count = counted(file.lost, "tensor")
                yield f"{file.path.name} holds {count} beside the model, not read: {few(file.left_out)}"
        for adapter in self.adapters.values():
            if adapter.embeddings:
                words = few(list(adapter.embeddings))
                what = "an embedding, a word for prompts, which changes no weights"
                yield f"{adapter.file.path.name} holds {what}: {words}"
        known: dict[str, str] = {}
        for source in self.checkpoints.values():
            if source.detected.prediction is not None:
                known.setdefault(source.detected.prediction, source.path.name)
        if len(known) > 1:
            listing = ", ".join(f"{name} is {kind}-prediction" for kind, name in known.items())
            yield f"mixing prediction types: {listing}; the result has the first one's marks"


def _checkpoint(name: str, file: TensorFile) -> CheckpointSource:
    detected = detect_checkpoint(file.header, str(file.path))
    tensors = tensors_by_name(file, detected.family)
    family = detected.family
    return CheckpointSource(name, file, detected, family.modules(tensors) | family.biases(tensors), tensors)


def tensors_by_name(file: TensorFile, family: Family) -> dict[str, TensorInfo]:
    """Tensors under today's names and shapes; under their own where two would get one name."""
    tensors = {family.modern_key(key): info for key, info in file.header.tensors.items()}
    if len(tensors) < len(file.header.tensors):
        return dict(file.header.tensors)
    shapes = {key: family.modern_shape(key, info.shape) for key, info in tensors.items()}
    return {
        key: info if shapes[key] == info.shape else replace(info, shape=shapes[key])
        for key, info in tensors.items()
    }


def _of_adapters(adapters: Iterable[Adapter]) -> Family | None:
    found: Family | None = None
    for adapter in adapters:
        if found is not None and adapter.family.id != found.id:
            raise InputError(
                "the adapters are of different families",
                where=f"{adapter.file.path.name} is {adapter.family.label}, another is {found.label}",
                fix="arithmetic needs adapters of one family",
            )
        found = adapter.family
    return found
