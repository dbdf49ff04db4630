"""Two files side by side, name by name: deltas of adapters, or weights and what they changed in a base."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from loralathe.adapters import Adapter, AdapterModule, load_factors, load_product, open_adapter
from loralathe.engine import in_parallel, modules_by_key, tensors_by_name
from loralathe.errors import InputError, option
from loralathe.families import FACTORED, Family, Module, in_original_layout, label_of_module
from loralathe.inspection.merged_lora import merged_rank
from loralathe.inspection.norms import chunks, family_of, is_computable, labels_of, read_flat, squares
from loralathe.lowrank import (
    Overlap,
    Plain,
    Product,
    Rounding,
    Swapped,
    compare_directions,
    compress,
    kronecker_directions,
    product_energy,
    product_inner,
    randomized_svd,
    relative_rounding,
    rounding_noise_energy,
    same_numbers,
)
from loralathe.progress import Progress
from loralathe.tensorfiles import TensorFile, TensorInfo, open_tensorfile

LEADING = 16
"""Directions of a dense delta whose overlap is measured, unless the person says otherwise."""
DECOMPOSED = 1 << 24
"""Numbers of a layer that a LoHa or LoKr fills and that is still decomposed: more than in SDXL's largest."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One tensor or module of both files. Sums over all elements, x and y being weights or deltas.

    xx = ‖x‖², yy = ‖y‖², xy = ⟨x, y⟩, dd = ‖x − y‖²;  equal: the same values everywhere.
    up, down: shared part of the leading output and input directions (`lowrank.compare_directions`),
    None where it has no meaning (vectors, a delta of zero), and of layers larger than DECOMPOSED.
    noise: mean ‖rounding error‖² of one rounding of x;  is_layer: whether a LoRA could change it.
    """

    name: str
    block: str
    elements: int
    xx: float
    yy: float
    xy: float
    dd: float
    equal: bool
    up: float | None = None
    down: float | None = None
    noise: float = 0.0
    is_layer: bool = False


@dataclass(frozen=True)
class Pairs:
    """Everything that two files share, and what they do not; fields as in `Comparison`.

    lora_rank: of the LoRA that the difference of two checkpoints is; None where it is none.
    """

    items: Sequence[Pair]
    family: Family | None
    only_x: tuple[str, ...]
    only_y: tuple[str, ...]
    reshaped: tuple[str, ...]
    recast: int
    rank: int | None
    unequal_integers: tuple[str, ...] = ()
    lora_rank: int | None = None


def pair_adapters(x: Path, y: Path, rank: int | None, progress: Progress, threads: int | None) -> Pairs:
    """Modules of both by their canonical names; `rank`: leading directions to compare, None = all."""
    with open_adapter(x) as one, open_adapter(y, one.family) as other:
        _check_families(one, other)
        shared = [name for name in one.modules if name in other.modules]
        fitting = [name for name in shared if one.modules[name].shape == other.modules[name].shape]

        def compare(name: str) -> Pair:
            found = _compare((one, other), name, rank)
            # Both factors are rounded, so their product carries two roundings.
            noise = 2.0 * relative_rounding(_coarsest(_dtype(one, name), _dtype(other, name))) ** 2 * found.xx
            return replace(found, noise=noise, is_layer=True)

        with progress.task("comparing", len(fitting), "modules") as task:
            found = in_parallel(fitting, compare, lambda _: 1, task, threads)
        fits = set(fitting)
        return Pairs(
            items=found,
            family=one.family,
            only_x=(*(name for name in one.modules if name not in other.modules), *one.unmatched),
            only_y=(*(name for name in other.modules if name not in one.modules), *other.unmatched),
            reshaped=tuple(name for name in shared if name not in fits),
            recast=sum(_dtype(one, name) != _dtype(other, name) for name in fitting),
            rank=rank,
        )


def _compare(adapters: tuple[Adapter, Adapter], name: str, rank: int | None) -> Pair:
    modules = [adapter.modules[name] for adapter in adapters]
    pairs = list(zip(adapters, modules, strict=True))
    alike = modules[0].swapped == modules[1].swapped
    x, y = (
        _product(*pair, swap=module.swapped and not alike)
        for pair, module in zip(pairs, modules, strict=True)
    )
    equal = same_numbers(x, y)
    xx, yy, xy = product_energy(x), product_energy(y), product_inner(x, y)
    up = down = None
    if xx > 0 and yy > 0 and (overlap := _directions(pairs, x, y, rank)) is not None:
        up, down = overlap.up, overlap.down
    # In float64, so that what two nearly equal deltas do not share survives the subtraction.
    dd = 0.0 if equal else max(xx + yy - 2.0 * xy, 0.0)
    label = label_of_module(adapters[0].family, name)
    return Pair(name, label, math.prod(modules[0].shape), xx, yy, xy, dd, equal, up, down)


def _product(adapter: Adapter, module: AdapterModule, *, swap: bool) -> Product:
    product = load_product(adapter, module)
    if not swap or isinstance(product, Swapped):
        return product
    return Plain(load_factors(adapter, module)) if isinstance(product, Plain) else Swapped(product)


def _directions(
    pairs: Sequence[tuple[Adapter, AdapterModule]], x: Product, y: Product, rank: int | None
) -> Overlap | None:
    """Of two Kronecker products from their factors; None where a product would be too large to decompose."""
    plain = isinstance(x, Plain) and isinstance(y, Plain)
    if not plain and (found := kronecker_directions(x, y, rank)) is not None:
        return found
    if not plain and math.prod(pairs[0][1].shape) > DECOMPOSED:
        return None
    factors = [
        product.factors if isinstance(product, Plain) else load_factors(*pair)
        for product, pair in zip((x, y), pairs, strict=True)
    ]
    one, other = (compress([each], [1.0], rank) for each in factors)
    return compare_directions(one, other)


def _coarsest(*dtypes: str) -> str:
    return max(dtypes, key=relative_rounding)


def _dtype(adapter: Adapter, name: str) -> str:
    return next(iter(adapter.modules[name].tensors.values())).dtype


def _check_families(one: Adapter, other: Adapter) -> None:
    if not other.modules or not one.modules:
        empty = other if not other.modules else one
        raise InputError(
            "the adapters are for different families",
            where=f"{empty.file.path} has no module of {one.family.label}",
            fix="compare adapters made for the same base model",
        )


def pair_checkpoints(
    x: Path, y: Path, base: Path | None, rank: int | None, progress: Progress, threads: int | None
) -> Pairs:
    """Tensors by name; x − base and y − base instead of x and y when a base is given.

    rank: leading directions whose overlap is measured, with a base; None = LEADING.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(open_tensorfile(path)) for path in (x, y, *([base] if base else []))]
        files = [in_original_layout(file) for file in opened]
        family = _common_family(files)
        held = [_Held.of(file, family) for file in files]
        keys = _Keys.of([one.tensors for one in held])
        work = _Work.over(held, family, (rank or LEADING) if base else None)
        sizes = {key: sum(one.tensors[key].nbytes for one in held) for key in keys.floats}
        with progress.task("comparing", sum(sizes.values())) as task:
            found = in_parallel(keys.floats, work.compare, sizes.__getitem__, task, threads, work.memory)
        return Pairs(
            lora_rank=None if base else work.merged_rank(found),
            items=found,
            family=family,
            only_x=keys.only_x,
            only_y=keys.only_y,
            reshaped=keys.reshaped,
            recast=keys.recast,
            rank=work.rank,
            unequal_integers=tuple(key for key in keys.integers if not _same_bytes(held, key)),
        )


def _common_family(files: Sequence[TensorFile]) -> Family | None:
    first = family_of(files[0].header)
    for file in files[1:]:
        other = family_of(file.header)
        if first is not None and other is not None and first is not other:
            raise InputError(
                "the checkpoints are of different families",
                where=f"{files[0].path.name} is {first.label}, {file.path.name} is {other.label}",
                fix="compare models of one family",
            )
    return first


@dataclass(frozen=True)
class _Held:
    """A file with its tensors by name; files of one family are compared under the family's own names."""

    file: TensorFile
    tensors: Mapping[str, TensorInfo]

    @staticmethod
    def of(file: TensorFile, family: Family | None) -> _Held:
        return _Held(file, tensors_by_name(file, family) if family else file.header.tensors)


@dataclass(frozen=True)
class _Keys:
    """Names by what can be done with them; a key that the base lacks counts as missing there too."""

    floats: tuple[str, ...]
    integers: tuple[str, ...]
    only_x: tuple[str, ...]
    only_y: tuple[str, ...]
    reshaped: tuple[str, ...]
    recast: int

    @staticmethod
    def of(files: Sequence[Mapping[str, TensorInfo]]) -> _Keys:
        x, y, *rest = files
        shared = [key for key in x if key in y and all(key in other for other in rest)]
        fitting = [key for key in shared if all(other[key].shape == x[key].shape for other in (y, *rest))]
        fits = set(fitting)
        floats = [key for key in fitting if all(is_computable(other[key]) for other in (x, y, *rest))]
        computable = set(floats)
        return _Keys(
            floats=tuple(floats),
            integers=tuple(key for key in fitting if key not in computable),
            only_x=tuple(key for key in x if key not in y),
            only_y=tuple(key for key in y if key not in x),
            reshaped=tuple(key for key in shared if key not in fits),
            recast=sum(x[key].rounding != y[key].rounding for key in floats),
        )


def _same_bytes(held: Sequence[_Held], key: str) -> bool:
    one, other = (x.file.read_bytes(x.tensors[key].name) for x in held[:2])
    return one == other


@dataclass(frozen=True)
class _Work:
    """Compares one tensor of all files; safe to use from several threads.

    rank: leading directions to compare, None for none.
    """

    files: Sequence[_Held]
    labels: Mapping[str, str]
    modules: Mapping[str, list[Module]]
    rank: int | None

    @staticmethod
    def over(files: Sequence[_Held], family: Family | None, rank: int | None) -> _Work:
        tensors = files[0].tensors
        modules = modules_by_key(family.modules(tensors)) if family else {}
        return _Work(files, labels_of(tensors, family), modules, rank)

    def memory(self, key: str) -> int:
        """Bytes of the matrices that `compare` holds: both deltas, and about as much for decomposing."""
        return 16 * self.files[0].tensors[key].numel if self.rank and self.modules.get(key) else 0

    def merged_rank(self, found: Sequence[Pair]) -> int | None:
        """See `Pairs.lora_rank`."""
        differing = [item for item in found if not item.equal]
        if not differing or not all(item.is_layer for item in differing):
            return None
        return merged_rank([item.name for item in differing], self._dtypes, self._rows)

    def _dtypes(self, key: str) -> list[Rounding]:
        return [one.tensors[key].rounding for one in self.files]

    def _rows(self, key: str) -> tuple[Tensor, Tensor]:
        """Both weights as (rows, all else), of a fused tensor the first layer's."""
        one, other = (read_flat(held.file, held.tensors[key], 0, held.tensors[key].numel)
                      for held in self.files[:2])  # fmt: skip
        slices, rows = max(len(self.modules[key]), 1), self.files[0].tensors[key].shape[0]
        return one.view(rows, -1).chunk(slices)[0], other.view(rows, -1).chunk(slices)[0]

    def compare(self, key: str) -> Pair:
        infos = [(one.file, one.tensors[key]) for one in self.files]
        matrix = [module for module in self.modules.get(key, ()) if module.scope in FACTORED]
        keep = _Kept.room_for(infos[0][1]) if matrix and self.rank else None
        xx, yy, dd = [], [], []
        start = 0
        for values in chunks(infos):
            one, other = values[0], values[1]
            if len(values) > 2:
                one, other = one - values[2], other - values[2]
            if keep is not None:
                keep.put(start, one, other)
            xx.append(squares(one))
            yy.append(squares(other))
            dd.append(squares(one - other))
            start += one.numel()
        return self._compared(key, infos[0][1], tuple(map(math.fsum, (xx, yy, dd))), matrix, keep)

    def _compared(
        self,
        key: str,
        info: TensorInfo,
        sums: tuple[float, ...],
        modules: Sequence[Module],
        kept: _Kept | None,
    ) -> Pair:
        xx, yy, dd = sums
        if not math.isfinite(xx + yy + dd):
            raise InputError(
                f"NaN or Inf in the tensor '{key}'",
                where=" or ".join(str(one.file.path) for one in self.files),
                fix=f"inspect them with {option('norms', True)}: it tells which file holds broken tensors",
            )
        rms = math.sqrt(xx / info.numel) if info.numel else 0.0
        found = Pair(
            key, self.labels[key], info.numel, xx, yy, (xx + yy - dd) / 2.0, dd, dd == 0.0,
            noise=rounding_noise_energy(rms, info.shape, self._dtypes(key)), is_layer=bool(modules),
        )  # fmt: skip
        if kept is None or not xx or not yy or self.rank is None:
            return found
        up, down = kept.overlap(max(len(modules), 1), self.rank)
        return replace(found, up=up, down=down)


@dataclass(frozen=True)
class _Kept:
    """Both deltas of one tensor as matrices (rows, all else), fp32."""

    one: Tensor
    other: Tensor

    @staticmethod
    def room_for(info: TensorInfo) -> _Kept:
        shape = (info.shape[0], info.numel // info.shape[0])
        return _Kept(torch.empty(shape), torch.empty(shape))

    def put(self, start: int, one: Tensor, other: Tensor) -> None:
        self.one.view(-1)[start : start + one.numel()] = one
        self.other.view(-1)[start : start + other.numel()] = other

    def overlap(self, slices: int, rank: int) -> tuple[float | None, float | None]:
        """Mean overlap of the leading directions over the row slices (q, k and v of a fused tensor)."""
        found = []
        for one, other in zip(self.one.chunk(slices), self.other.chunk(slices), strict=True):
            first, second = randomized_svd(one, rank), randomized_svd(other, rank)
            if len(first.S) and len(second.S):
                found.append(compare_directions(first.truncate(rank), second.truncate(rank)))
        if not found:
            return None, None
        return sum(item.up for item in found) / len(found), sum(item.down for item in found) / len(found)
