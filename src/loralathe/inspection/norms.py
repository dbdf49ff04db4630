"""Norms per block: of a checkpoint's weights, or of the deltas an adapter makes (in factor space)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loralathe.adapters import Adapter, AdapterModule, load_product, open_adapter, shows_adapter
from loralathe.engine import in_parallel
from loralathe.errors import InputError
from loralathe.families import (
    Family,
    common_prefixes,
    detect_checkpoint,
    in_model_order,
    in_original_layout,
    label_of_key,
    label_of_module,
)
from loralathe.lowrank import product_energy
from loralathe.progress import Progress
from loralathe.tensorfiles import DTYPES, Header, TensorFile, TensorInfo, open_tensorfile, to_torch_dtype

CHUNK = 1 << 19
"""Elements read at once: 2 MiB in fp32."""


@dataclass(frozen=True, slots=True)
class Norm:
    """Frobenius norm of a block and the root mean square of its elements.

    items: tensors, or an adapter's modules;  broken: how many of them hold NaN or Inf (not in the sum).
    """

    block: str
    items: int
    elements: int
    norm: float
    broken: int

    @property
    def rms(self) -> float:
        return self.norm / math.sqrt(self.elements) if self.elements else 0.0


@dataclass(frozen=True, slots=True)
class _One:
    block: str
    elements: int
    energy: float


def block_norms(
    path: str | os.PathLike[str], progress: Progress | None = None, threads: int | None = None
) -> list[Norm]:
    """Norms of every block in the order of the model, the total last; memory stays bounded.

    Raises InputError for an adapter of a kind that is not read.
    """
    progress = progress or Progress()
    with open_tensorfile(path) as file:
        if not shows_adapter(file.header.tensors):
            return _weights(in_original_layout(file), progress, threads)
    with open_adapter(path) as adapter:
        return _deltas(adapter, progress, threads)


def _weights(file: TensorFile, progress: Progress, threads: int | None) -> list[Norm]:
    family = family_of(file.header)
    groups = labels_of(file.header.tensors, family)

    def one(info: TensorInfo) -> _One:
        energy = math.fsum(squares(values) for (values,) in chunks([(file, info)]))
        return _One(groups[info.name], info.numel, energy)

    infos = [info for info in file.header.tensors.values() if is_computable(info)]
    with progress.task("reading weights", sum(info.nbytes for info in infos)) as task:
        found = in_parallel(infos, one, lambda info: info.nbytes, task, threads)
    return _sum(found, family)


def _deltas(adapter: Adapter, progress: Progress, threads: int | None) -> list[Norm]:
    def one(module: AdapterModule) -> _One:
        energy = product_energy(load_product(adapter, module))
        label = label_of_module(adapter.family, module.name)
        return _One(label, math.prod(module.shape), energy)

    modules = list(adapter.modules.values())
    with progress.task("reading factors", len(modules), "modules") as task:
        found = in_parallel(modules, one, lambda _: 1, task, threads)
    return _sum(found, adapter.family)


def is_computable(info: TensorInfo) -> bool:
    """Whether the tensor holds floats that torch knows."""
    dtype = DTYPES[info.dtype]
    return dtype.is_float and isinstance(getattr(torch, dtype.torch_name or "", None), torch.dtype)


def chunks(files: Sequence[tuple[TensorFile, TensorInfo]]) -> Iterator[tuple[Tensor, ...]]:
    """The same elements of several tensors of equal size, as flat fp32 tensors, at most CHUNK of them."""
    total = files[0][1].numel
    for start in range(0, total, CHUNK):
        yield tuple(read_flat(file, info, start, min(start + CHUNK, total)) for file, info in files)


def read_flat(file: TensorFile, info: TensorInfo, start: int, stop: int) -> Tensor:
    """Elements [start, stop) of a tensor in row-major order, fp32."""
    raw = torch.empty(stop - start, dtype=to_torch_dtype(info.dtype))
    size = DTYPES[info.dtype].bits // 8
    buffer = raw.view(torch.uint8).numpy().data
    file.readinto(info, buffer, start * size)
    return raw.float()


def squares(values: Tensor) -> float:
    """‖values‖² of a flat fp32 tensor; added up in float64, since a long fp32 dot product drifts by 1e-5."""
    return float(values.square().sum(dtype=torch.float64))


def family_of(header: Header) -> Family | None:
    """The family of a checkpoint, None when it is of none that is known."""
    try:
        return detect_checkpoint(header).family
    except InputError:
        return None


def labels_of(keys: Iterable[str], family: Family | None) -> dict[str, str]:
    """Key to block, or to a common beginning where the family is unknown."""
    if family is None:
        return common_prefixes(keys)
    return {key: label_of_key(family, key) for key in keys}


def _sum(found: Iterable[_One], family: Family | None) -> list[Norm]:
    grouped: dict[str, list[_One]] = {}
    for one in found:
        grouped.setdefault(one.block, []).append(one)
    blocks = [_norm(label, grouped[label]) for label in in_model_order(grouped, family)]
    return [*blocks, _norm("total", [one for group in grouped.values() for one in group])]


def _norm(label: str, group: list[_One]) -> Norm:
    sound = [one for one in group if math.isfinite(one.energy)]
    return Norm(
        block=label,
        items=len(group),
        elements=sum(one.elements for one in sound),
        norm=math.sqrt(math.fsum(one.energy for one in sound)),
        broken=len(group) - len(sound),
    )
