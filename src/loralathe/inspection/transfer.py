"""How a LoRA made for one base fits another: which block goes where, and how much of it is understood there.

The score of a layer: a LoRA reads a few directions of its input and writes a few of its output. Where both
bases do the same with them, the LoRA finds on the second base what it was trained on. With the delta's
singular triplets (uᵢ, σᵢ, vᵢ) and the two weights A and B,

    shared = Σ σᵢ² · ½ (cos(A·vᵢ, B·vᵢ) + cos(Aᵀ·uᵢ, Bᵀ·uᵢ)) / Σ σᵢ²,

1 on the same base, 0 on a stranger. tests/inspection/test_transfer.py compares it with pictures.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from loralathe.adapters import Adapter, AdapterModule, address_of_raw, load_factors, open_adapter
from loralathe.engine import in_parallel, tensors_by_name
from loralathe.errors import InputError, option
from loralathe.families import (
    FACTORED,
    Family,
    Module,
    detect_checkpoint,
    in_model_order,
    in_original_layout,
    label_of_module,
)
from loralathe.inspection.norms import CHUNK, read_flat
from loralathe.inspection.origins import RELATED, Stack, block_origins, stack_of
from loralathe.lowrank import compress, flatten_tucker
from loralathe.progress import Progress
from loralathe.rounded import fixed
from loralathe.tensorfiles import TensorFile, TensorInfo, open_tensorfile

DIRECTIONS = 16
"""Leading directions of a layer's delta that are looked at; they hold nearly all of a character's."""


@dataclass(frozen=True, slots=True)
class BlockFit:
    """A block of the second base, or everything: layers of the LoRA there, and their score by energy.

    shared: None where no layer could be measured
    """

    block: str
    layers: int
    shared: float | None


@dataclass(frozen=True)
class Fitting:
    """How an adapter of one base goes to another.

    stacks:   which blocks of the second base came from which of the first
    moved:    name of a module in the file → names in the new file; none where no block is its own
    left_out: modules that have no place in the second base
    blocks, total: the score, by blocks of the second base
    """

    adapter: Path
    source: Path
    target: Path
    stacks: tuple[Stack, ...]
    moved: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]
    blocks: tuple[BlockFit, ...]
    total: BlockFit

    @property
    def changes(self) -> bool:
        """Whether the new file is another than the old."""
        return bool(self.left_out) or any(names != (raw,) for raw, names in self.moved.items())

    @property
    def numbers(self) -> dict[str, list[int | None]]:
        """Path of a stack whose blocks move → number of the origin of each of its blocks in the target."""
        return {stack.path: [one.source for one in stack.origins] for stack in self.stacks if stack.moves}


@dataclass(frozen=True)
class _Base:
    file: TensorFile
    family: Family
    tensors: Mapping[str, TensorInfo]
    modules: Mapping[str, Module]

    @staticmethod
    def of(file: TensorFile) -> _Base:
        family = detect_checkpoint(file.header, str(file.path)).family
        tensors = tensors_by_name(file, family)
        return _Base(file, family, tensors, family.modules(tensors))


def fit_adapter(
    adapter: Path, source: Path, target: Path, progress: Progress | None = None, threads: int | None = None
) -> Fitting:
    """Find where the modules of an adapter for `source` belong in `target`, and score them.

    Raises InputError for bases of different structure or origin, a LoRA that already is the target's, and
    one without modules that could be placed.
    """
    progress = progress or Progress()
    with open_tensorfile(source) as first, open_tensorfile(target) as second:
        one, other = in_original_layout(first), in_original_layout(second)
        bases = _Base.of(one), _Base.of(other)
        _require_kin(bases)
        stacks = block_origins((one, other), progress)
        _require_origin(stacks, bases)
        with open_adapter(adapter, bases[0].family, with_weights=True) as opened:
            places = _places(opened, stacks, bases)
            moved = {raw: names for raw, names in places.items() if names}
            if not moved:
                raise InputError(
                    f"no module of the LoRA has a place in {target.name}",
                    where=str(adapter),
                    fix="the first base must be the one that the LoRA was trained on",
                )
            blocks = _scores(opened, moved, bases, progress, threads)
    total = _block_fit("total", blocks)
    labels = in_model_order({label for label, _, _ in blocks}, bases[1].family)
    return Fitting(
        adapter=adapter,
        source=source,
        target=target,
        stacks=stacks,
        moved=moved,
        left_out=tuple(raw for raw, names in places.items() if not names),
        blocks=tuple(_block_fit(one, [row for row in blocks if row[0] == one]) for one in labels),
        total=total,
    )


def _require_kin(bases: tuple[_Base, _Base]) -> None:
    """Both have the same networks with the same layers, in whatever number."""
    one, other = (
        {numbered[0] for key in base.tensors if (numbered := base.family.numbered_key(key))} for base in bases
    )
    if not one & other or bases[0].family.entry_module != bases[1].family.entry_module:
        raise InputError(
            "the bases are of different families",
            where=f"{bases[0].file.path.name} is {bases[0].family.label}, "
            f"{bases[1].file.path.name} is {bases[1].family.label}",
            fix="a LoRA goes to a base of the same structure; for another family it must be trained again",
        )


def _require_origin(stacks: tuple[Stack, ...], bases: tuple[_Base, _Base]) -> None:
    found = [stack for stack in stacks if stack.path.startswith("unet.")]
    cosine = math.fsum(stack.cosine for stack in found) / len(found) if found else 0.0
    if cosine < RELATED:
        raise InputError(
            f"the bases are strangers: their blocks have a cosine of {fixed(cosine, 2)}, "
            f"less than {RELATED:g}",
            where=f"{bases[0].file.path.name} and {bases[1].file.path.name}",
            fix="a LoRA goes to bases that were made from its own; for this one it must be trained again",
        )


def _places(
    adapter: Adapter, stacks: tuple[Stack, ...], bases: tuple[_Base, _Base]
) -> dict[str, tuple[str, ...]]:
    """Name of a module in the file → its names for the second base."""
    by_path = {stack.path: stack for stack in stacks}
    raw_names = dict.fromkeys(
        piece.raw_name for module in adapter.modules.values() for piece in _pieces(module)
    )
    found: dict[str, tuple[str, ...]] = {}
    for raw in raw_names:
        place = address_of_raw(adapter.family, raw)
        assert place is not None, f"{raw} has been read"
        numbered = adapter.family.numbered_module(place.module)
        stack = by_path.get(stack_of(numbered[0])) if numbered else None
        if numbered is None or stack is None:
            found[raw] = (raw,) if place.module in bases[1].modules else ()
            continue
        template, number = numbered
        if number >= stack.depths[0]:
            raise _already_there(adapter, raw, stack, bases)
        targets = [
            origin.number
            for origin in stack.origins
            if origin.source == number and _is_kin(stack, template, origin.number)
        ]
        names = (template.replace("#", str(one)) for one in targets)
        found[raw] = tuple(
            _renamed(bases[1].family, raw, number, target, name)
            for target, name in zip(targets, names, strict=True)
        )
    return found


def _pieces(module: AdapterModule) -> Iterable[AdapterModule]:
    return [piece for _, piece in module.pieces] if module.pieces else [module]


def _is_kin(stack: Stack, template: str, number: int) -> bool:
    """Whether this layer of the block, too, came from the block's origin. New blocks often write nothing at
    first: their last layers begin as zeros, and a LoRA of the old ones would only disturb."""
    cosines = stack.layers.get(f"{template}.weight")
    cosine = cosines[number] if cosines else None
    return cosine is None or cosine >= RELATED


def _renamed(family: Family, raw: str, old: int, new: int, module: str) -> str:
    """The name in the file, with the number that tells the block exchanged: whatever its dialect."""
    if old == new:
        return raw
    parts = re.split(r"([._])", raw)
    for i, token in enumerate(parts):
        if token == str(old):
            name = "".join([*parts[:i], str(new), *parts[i + 1 :]])
            place = address_of_raw(family, name)
            if place is not None and place.module == module:
                return name
    raise InputError(
        f"'{raw}' has no name for block {new}",
        fix=f"write it in kohya's names first: lathe convert with {option('to', 'kohya')}",
    )


def _already_there(adapter: Adapter, raw: str, stack: Stack, bases: tuple[_Base, _Base]) -> InputError:
    names = [base.file.path.name for base in bases]
    return InputError(
        f"{names[0]} has {stack.depths[0]} blocks, and the LoRA has more",
        where=f"{adapter.file.path}: '{raw}'",
        fix=f"it is made for a deeper base already, perhaps {names[1]}; use it there as it is",
    )


Row = tuple[str, float, float | None]
"""Block, energy of the delta, share of it: of one layer of the LoRA in the second base."""


def _scores(
    adapter: Adapter,
    moved: Mapping[str, tuple[str, ...]],
    bases: tuple[_Base, _Base],
    progress: Progress,
    threads: int | None,
) -> list[Row]:
    pairs = dict.fromkeys(
        (module, target)
        for module in adapter.modules.values()
        for piece in _pieces(module)
        for raw in moved.get(piece.raw_name, ())
        if (target := _module_of(bases[1].family, raw)) is not None
    )

    def one(pair: tuple[AdapterModule, str]) -> Row:
        module, target = pair
        label = label_of_module(bases[1].family, target)
        found = _shared(adapter, module, target, bases)
        return label, *(found or (0.0, None))

    with progress.task("comparing layers", len(pairs), "layers") as task:
        return in_parallel(list(pairs), one, lambda _: 1, task, threads)


def _module_of(family: Family, raw: str) -> str | None:
    place = address_of_raw(family, raw)
    return place.module if place else None


def _shared(
    adapter: Adapter, module: AdapterModule, target: str, bases: tuple[_Base, _Base]
) -> tuple[float, float] | None:
    """Energy of a module's delta and the score; None for what is no matrix, or depends on the weight."""
    layers = [base.modules.get(name) for base, name in zip(bases, (module.name, target), strict=True)]
    if module.needs_weight or len(module.shape) < 2:
        return None
    if any(layer is None or layer.scope not in FACTORED or layer.transpose for layer in layers):
        return None
    U, S, Vh = compress([flatten_tucker(load_factors(adapter, module))], [1.0], DIRECTIONS)
    weights = S.double().square()
    if not float(weights.sum()) > 0:
        return None
    one, other = (
        _answers(base, layer, U, Vh) for base, layer in zip(bases, layers, strict=True) if layer is not None
    )
    if one[0].shape != other[0].shape or one[1].shape != other[1].shape:
        return None
    share = (_cosines(one[0], other[0]) + _cosines(one[1], other[1])) / 2
    return float(weights.sum()), float((weights * share).sum() / weights.sum())


def _answers(base: _Base, layer: Module, U: Tensor, Vh: Tensor) -> tuple[Tensor, Tensor]:
    """W·vᵢ as (out, r) and Wᵀ·uᵢ as (in, r), in bands of rows."""
    info = base.tensors[layer.key]
    width = info.numel // info.shape[0]
    index, count = layer.part or (0, 1)
    rows = info.shape[0] // count
    first, step = index * rows, max(CHUNK // width, 1)
    forward, backward = [], torch.zeros(width, U.shape[1])
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        band = read_flat(base.file, info, (first + start) * width, (first + stop) * width).view(-1, width)
        if width == Vh.shape[1]:
            forward.append(band @ Vh.T)
        if rows == U.shape[0]:
            backward += band.T @ U[start:stop]
    return torch.cat(forward) if forward else torch.empty(0), backward


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    """Of each pair of columns, (r,) in float64; 0 where one is nothing."""
    x, y = one.double(), other.double()
    lengths = x.norm(dim=0) * y.norm(dim=0)
    return torch.where(lengths > 0, (x * y).sum(0) / lengths.clamp_min(1e-300), torch.zeros_like(lengths))


def _block_fit(label: str, rows: Iterable[Row]) -> BlockFit:
    found = list(rows)
    known = [(energy, share) for _, energy, share in found if share is not None]
    total = math.fsum(energy for energy, _ in known)
    shared = math.fsum(energy * share for energy, share in known) / total if total > 0 else None
    return BlockFit(label, len(found), shared)
