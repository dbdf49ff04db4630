"""One module of an adapter, checked from the header: its kind, its tensors, its shape, its scale.

What each kind's tensors are is in the kind's own file: `lora`, `loha`, `lokr`, `difference`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType

from loralathe.adapters import (
    difference,
    loha,
    lokr,
    lora,
    magnitude,
)
from loralathe.adapters.delta_shape import DeltaShape, place
from loralathe.adapters.kinds import family_of
from loralathe.adapters.peft import Alphas
from loralathe.adapters.scalars import read_scalar
from loralathe.errors import InputError
from loralathe.tensorfiles import TensorFile, TensorInfo

FAMILIES: Mapping[str, ModuleType] = {"lora": lora, "loha": loha, "lokr": lokr, "difference": difference}
"""How a family of kinds is read: PARTS, form() and factors() of its file."""
SPARSE_BIAS = frozenset({"bias_indices", "bias_values", "bias_size"})
"""LyCORIS writes a sparse bias beside a LoRA; no program reads it."""


@dataclass(frozen=True, slots=True)
class AdapterModule:
    """One module; nothing of its factors is read yet.

    name:     canonical name; raw_name: as the file spells it
    kind:     'lora', 'locon' (k×k), 'loha', 'lokr', 'full'; with a core '…-tucker'
    block:    block of the family's long list, None for modules in no block
    tensors:  part in the words of its kind ('up', 'hada_w1_a', 'diff', …) and 'alpha' → where it lies
    shape:    of the delta: (out, in), (out, in, k, k) for a convolution, (channels,) for a norm or a bias
    rank:     of its exact factors
    alpha:    None when neither file nor metadata have one, which means a scale of 1
    scale:    alpha / rank as the kind's trainer means it, sign kept
    magnitudes: of a DoRA: 0, one for each output, or 1, one for each input; then shape, rank and scale are
              those of the LoRA inside, which is no difference of weights by itself
    pieces:   (first row, module) of the parts that it is split into in the file, see `fused`
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
    magnitudes: int | None = None
    pieces: tuple[tuple[int, AdapterModule], ...] = field(default=(), hash=False)
    swapped: bool = False

    @property
    def magnitude_part(self) -> TensorInfo | None:
        """Where the magnitudes of a DoRA lie."""
        return next((self.tensors[name] for name in magnitude.NAMES if name in self.tensors), None)


def read_module(
    file: TensorFile,
    parts: Mapping[str, str],
    *,
    name: str,
    raw_name: str,
    kind: str,
    block: str | None,
    kernel: int = 1,
    alphas: Alphas | None = None,
) -> AdapterModule:
    """The module made of `parts` (part as the file spells it → tensor key), its alpha read.

    kernel: the layer's, for kinds that store a convolution as a matrix;  alphas: those of the metadata.

    Raises InputError naming file and tensor for missing partners, unfitting shapes, integer factors, unknown
    parts, and an alpha that is not one finite number other than 0.
    """
    family = FAMILIES[family_of(kind)]
    tensors = _sorted(file, parts, family)
    own = {part: info for part, info in tensors.items() if part not in ("alpha", *magnitude.NAMES)}
    made: DeltaShape = family.delta_shape(file, raw_name, own, kernel)
    alpha = None
    if "alpha" in tensors:
        alpha = _read_alpha(file, tensors["alpha"])
    elif alphas is not None and made.divisor is not None:
        alpha = alphas.alpha_of(raw_name, made.divisor)
    scale = 1.0 if alpha is None or made.divisor is None else alpha / made.divisor
    axis = None
    for part in magnitude.NAMES:
        if part in tensors:
            axis = magnitude.axis_of(file, part, tensors[part], made.shape)
    return AdapterModule(name, raw_name, kind, block, tensors, made.shape, made.rank, alpha, scale, axis)


def _sorted(file: TensorFile, parts: Mapping[str, str], family: ModuleType) -> dict[str, TensorInfo]:
    names: Mapping[str, str] = {**family.PARTS, **magnitude.PARTS}
    tensors: dict[str, TensorInfo] = {}
    for part, key in parts.items():
        if part in SPARSE_BIAS:
            continue
        if part not in names and part != "alpha":
            raise InputError(
                f"'{part}' beside a {family.NAME} is not understood, and ignoring it would change the result",
                where=place(file, key),
                fix="save the adapter again with its trainer, which folds it into the factors",
            )
        tensors[names.get(part, part)] = file.header.tensors[key]
    return tensors


def _read_alpha(file: TensorFile, info: TensorInfo) -> float:
    if info.numel != 1:
        raise InputError(
            f"alpha has shape {list(info.shape)}; it should be one number", where=place(file, info.name)
        )
    alpha = read_scalar(file, info)
    if not math.isfinite(alpha) or alpha == 0:
        raise InputError(
            f"alpha is {alpha:g}, so the module has no usable scale",
            where=place(file, info.name),
            fix="alpha is a finite number other than 0; the training or its save went wrong",
        )
    return alpha
