"""One module of an adapter, checked from the header: its kind, its tensors, its shape, its scale.

What each kind's tensors are is in the kind's own file. Layers that LoRAs of diffusers have apart and a model
in one tensor, q, k, v (and the MLP), become one module whose factors stand side by side, each over own rows:

    Δ = [Δ₁; Δ₂; …]      up = blockdiag(up₁, up₂, …)      down = [down₁; down₂; …]

so the rank is the sum of the ranks, and nothing is rounded. Parts that a file lacks are rows of zeros. Where
a part's change depends on the weight, it is that of its own rows (DoRA, OFT of a layer's q, k and v apart).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from loralathe.adapters.alphas import read_alpha, read_scalar
from loralathe.adapters.kind import ANY, ModuleHeader
from loralathe.adapters.kinds import changing_kind, kind_that_reads, kinds_named
from loralathe.adapters.notes import Notes
from loralathe.errors import InputError
from loralathe.tensorfiles import TensorFile, TensorInfo

LARGEST = 1 << 30
"""Numbers of a layer: Flux.2 dev's largest has 339,738,624, Qwen-Image's table of tokens 544,997,376. A few
kilobytes can claim far more."""
SPARSE_BIAS = frozenset({"bias_indices", "bias_values", "bias_size"})
"""LyCORIS writes a sparse bias beside a LoRA; no program reads it."""


@dataclass(frozen=True, slots=True)
class AdapterModule:
    """One module; nothing of its factors is read yet.

    name:     canonical name; raw_name: as the file spells it
    kind:     such as 'lora', 'locon-tucker', 'lokr+dora', see `kinds`
    block:    block of the family's long list, None for modules in no block
    tensors:  part in the words of its kind ('up', 'hada_w1_a', 'diff', …) and 'alpha' → where it lies
    shape:    of the change: (out, in), (out, in, k, k) for a convolution, (channels,) for a norm or a bias
    rank:     of its exact factors
    alpha:    None when neither file nor metadata have one, which means a scale of 1
    scale:    alpha / rank as the kind's trainer means it, sign kept
    settings: what PEFT's config says of it, for kinds that need that
    optional: a bias that the layer may lack; then there is nothing to change
    pieces:   (first row, module) of the parts that it is split into in the file
    swapped:  the file has the two halves of its rows the other way round
    """

    name: str
    raw_name: str
    kind: str
    block: str | None
    tensors: Mapping[str, TensorInfo] = field(hash=False)
    shape: tuple[int, ...]
    rank: int
    alpha: float | None
    scale: float
    settings: Mapping[str, float] = field(default_factory=dict, hash=False)
    optional: bool = False
    pieces: tuple[tuple[int, AdapterModule], ...] = field(default=(), hash=False)
    swapped: bool = False

    @property
    def needs_weight(self) -> bool:
        """Whether what it changes depends on the weight; then its factors, if any, are not a difference."""
        return changing_kind(self.kind) is not None


def read_module(
    file: TensorFile,
    parts: Mapping[str, str],
    *,
    name: str,
    raw_name: str,
    kind: str,
    block: str | None,
    kernel: int = 0,
    notes: Notes | None = None,
    bias: bool = False,
) -> AdapterModule:
    """The module made of `parts` (part as the file spells it → tensor key), its alpha read.

    kernel: the layer's, for kinds that store a convolution as a matrix;  notes: those of PEFT;
    bias:   the module is the bias of a layer.

    Raises InputError naming file and tensor for missing partners, unfitting shapes, integer factors, unknown
    parts, and an alpha that matters and is not one finite number other than 0.
    """
    own, (_, beside) = kind_that_reads(kind), kinds_named(kind)
    assert own.delta_shape is not None
    names = {**own.parts, **own.bare}
    mine = _named(file, parts, names)
    others = _named(file, parts, beside.parts if beside else {})
    alpha_part = _named(file, parts, {} if "alpha" in names else {"alpha": "alpha"})
    settings = (notes or Notes({})).settings_of(raw_name, own.settings)
    scalar = partial(read_scalar, file)
    header = ModuleHeader(
        str(file.path), raw_name, own.label, mine, kernel, scalar, settings=settings, bias=bias
    )
    _check_understood(header, file, parts, {*names, *(beside.parts if beside else ()), "alpha"})
    header.check_floats()
    made = own.delta_shape(header)
    if beside is not None and beside.delta_shape is not None:
        made = beside.delta_shape(replace(header, kind=beside.label, tensors=others, inside=made))
    if math.prod(map(abs, made.shape)) > LARGEST:
        raise InputError(
            f"the {own.label} makes a layer of {list(made.shape)}, more than {LARGEST:,} numbers",
            where=f"{file.path}, module '{raw_name}'",
            fix="no model that is read has such a layer; get the file again, it is damaged or made to harm",
        )
    alpha, divisor = None, made.divisor
    if alpha_part and divisor is None:
        # It has no effect: LyCORIS writes one that overflows fp16 to infinity.
        alpha = read_scalar(file, alpha_part["alpha"]) if alpha_part["alpha"].numel == 1 else None
    elif alpha_part:
        alpha = read_alpha(file, alpha_part["alpha"])
    elif notes is not None:
        divisor = notes.rank_of(raw_name) if made.whole else divisor
        alpha = None if divisor is None else notes.alpha_of(raw_name, divisor)
    scale = 1.0 if alpha is None or divisor is None else alpha / divisor
    tensors = {**mine, **others, **alpha_part}
    shape = _shape_in_model(made.shape, kernel, has_core="mid" in mine)
    optional = bias and not set(own.biases).intersection(parts)
    return AdapterModule(
        name, raw_name, kind, block, tensors, shape, made.rank, alpha, scale, settings, optional
    )


def _shape_in_model(shape: tuple[int, ...], kernel: int, *, has_core: bool) -> tuple[int, ...]:
    """The axes that the layer has in the model: LoHa and LoKr store a 1×1 convolution as a matrix.

    Programs refuse a LoRA that has others.
    """
    if kernel == 1 and len(shape) == 2:
        return (*shape, 1, 1)
    return shape[:2] if kernel == 0 and shape[2:] == (1, 1) and not has_core else shape


def _named(file: TensorFile, parts: Mapping[str, str], names: Mapping[str, str]) -> dict[str, TensorInfo]:
    """The tensors of a kind by its own words for them."""
    return {names[part]: file.header.tensors[key] for part, key in parts.items() if part in names}


def _check_understood(
    header: ModuleHeader, file: TensorFile, parts: Mapping[str, str], known: Collection[str]
) -> None:
    for part, key in parts.items():
        if part not in known and part not in SPARSE_BIAS:
            raise InputError(
                f"'{part}' beside {header.kind} is not understood, and ignoring it would change the result",
                where=header.place(file.header.tensors[key]),
                fix="save the adapter again with its trainer, which folds it into the factors",
            )


def fused_module(
    file: TensorFile, name: str, parts: Mapping[int, AdapterModule], ratios: tuple[int, ...]
) -> AdapterModule:
    """One module of the parts by their slot. Raises InputError where their shapes do not go together.

    ratios: rows of each slot in inputs of the layer, for slots that the file lacks and for square ones.
    """
    ordered = [parts[slot] for slot in sorted(parts)]
    first, width = ordered[0], _width(parts, ratios)
    axes = len(first.shape)
    for slot, part in sorted(parts.items()):
        square = ratios[slot] == 1
        fitting = len(part.shape) == axes <= 2 and all(size in (ANY, width) for size in part.shape[1:])
        if not fitting or (square and part.shape[0] not in (ANY, width)):
            wanted = ", ".join([str(width) if square else "…", *[str(width)] * (axes - 1)])
            raise InputError(
                f"the parts of one layer do not go together: {list(part.shape)}, not [{wanted}]",
                where=f"{file.path}: '{part.raw_name}' beside '{first.raw_name}'",
                fix="the file is damaged or made for another model; save it again with its trainer",
            )
    told = {slot: part.shape[0] for slot, part in parts.items() if part.shape[0] != ANY}
    if width == ANY and len(told) < len(ratios):
        raise InputError(
            "some parts of one layer are missing, and those that are there do not tell its size",
            where=f"{file.path}: '{first.raw_name}'",
            fix="merge the adapter with the program that made it",
        )
    heights = [told.get(slot, ratio * width) for slot, ratio in enumerate(ratios)]
    tensors = {f"{slot} {key}": info for slot, part in parts.items() for key, info in part.tensors.items()}
    placed = {slot: replace(part, shape=(heights[slot], *part.shape[1:])) for slot, part in parts.items()}
    return replace(
        first,
        name=name,
        kind=next((part.kind for part in ordered if part.needs_weight), first.kind),
        tensors=tensors,
        shape=(sum(heights), width)[:axes],
        rank=sum(part.rank for part in ordered),
        alpha=None,
        scale=1.0,
        pieces=tuple((sum(heights[:slot]), placed[slot]) for slot in sorted(placed)),
    )


def _width(parts: Mapping[int, AdapterModule], ratios: tuple[int, ...]) -> int:
    """Inputs of the layer that the parts make, told by one or by the rows of a square one; else ANY."""
    told = [size for part in parts.values() for size in part.shape[1:2]]
    told += [part.shape[0] for slot, part in parts.items() if ratios[slot] == 1]
    return next((size for size in told if size != ANY), ANY)
