"""One module of a LoRA or LoCon, checked from the header: which tensors it has, its rank, its alpha.

Layouts that trainers write, out = o, in = i, rank = r, kernel = k:

    linear         up (o, r)         down (r, i)
    1×1 conv       up (o, r, 1, 1)   down (r, i, 1, 1)
    k×k conv       up (o, r, 1, 1)   down (r, i, k, k)         (LyCORIS' DyLoRA: up (o, r))
    Tucker         up (o, r, 1, 1)   mid (r, r, k, k)   down (r, i, 1, 1)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import InputError
from ..tensorfiles import DTYPES, TensorFile, TensorInfo
from .scalars import read_scalar

PART_NAMES = {
    "lora_up.weight": "up",
    "lora_down.weight": "down",
    "lora_mid.weight": "mid",
    "lora_B.weight": "up",  # PEFT's words, met under kohya's module names too
    "lora_A.weight": "down",
    "alpha": "alpha",
}
SPARSE_BIAS = frozenset({"bias_indices", "bias_values", "bias_size"})
"""LyCORIS writes a sparse bias beside a LoRA; no program reads it."""


@dataclass(frozen=True, slots=True)
class AdapterModule:
    """One module; nothing of its factors is read yet.

    name:     canonical name; raw_name: as the file spells it
    kind:     'lora', 'locon' (k×k), 'locon-tucker' (with a core)
    block:    block of the architecture's long list, None for modules in no block
    tensors:  'up', 'down', 'mid', 'alpha' → where it lies
    alpha:    None when the file has none, which means alpha = rank
    """

    name: str
    raw_name: str
    kind: str
    block: str | None
    tensors: Mapping[str, TensorInfo] = field(hash=False)
    rank: int
    alpha: float | None

    @property
    def scale(self) -> float:
        """alpha / rank, sign kept."""
        return 1.0 if self.alpha is None else self.alpha / self.rank

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the delta: (out, in), or (out, in, k, k) where the factors are those of a convolution."""
        up, down = self.tensors["up"].shape, self.tensors["down"].shape
        kernel = self.tensors["mid"].shape[2:] if "mid" in self.tensors else down[2:]
        return (up[0], down[1], *kernel)


def read_module(
    file: TensorFile, parts: Mapping[str, str], *, name: str, raw_name: str, kind: str, block: str | None
) -> AdapterModule:
    """The module made of `parts` (part as the file spells it → tensor key), its alpha read.

    Raises InputError naming file and tensor for missing partners, unfitting shapes, integer factors, unknown
    parts, and an alpha that is not one finite number other than 0.
    """
    tensors: dict[str, TensorInfo] = {}
    for part, key in parts.items():
        if part in SPARSE_BIAS:
            continue
        if part not in PART_NAMES:
            raise InputError(
                f"'{part}' beside a LoRA is not understood, and ignoring it would change the result",
                where=_place(file, key),
                fix="save the adapter again with its trainer, which folds it into lora_up",
            )
        tensors[PART_NAMES[part]] = file.header.tensors[key]
    _check_partners(file, raw_name, tensors)
    _check_shapes(file, tensors)
    alpha = _read_alpha(file, tensors["alpha"]) if "alpha" in tensors else None
    return AdapterModule(name, raw_name, kind, block, tensors, tensors["down"].shape[0], alpha)


def _place(file: TensorFile, key: str) -> str:
    return f"{file.path}, tensor '{key}'"


def _check_partners(file: TensorFile, raw_name: str, tensors: Mapping[str, TensorInfo]) -> None:
    missing = [f"lora_{part}.weight" for part in ("up", "down") if part not in tensors]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} of a LoRA module {'is' if len(missing) == 1 else 'are'} missing",
            where=f"{file.path}, module '{raw_name}'",
            fix="download or save the file again; it is incomplete",
        )


def _check_shapes(file: TensorFile, tensors: Mapping[str, TensorInfo]) -> None:
    for part in ("up", "down", "mid"):
        if part in tensors and not DTYPES[tensors[part].dtype].is_float:
            raise InputError(
                f"a LoRA factor of dtype {tensors[part].dtype}",
                where=_place(file, tensors[part].name),
                fix="factors are floating-point; quantised LoRAs are not read",
            )
    up, down = tensors["up"], tensors["down"]
    _check_axes(file, up, up.shape[2:] in ((), (1, 1)), "(out, rank) or (out, rank, 1, 1)")
    _check_axes(file, down, len(down.shape) in (2, 4), "(rank, in) or (rank, in, k, k)")
    if "mid" in tensors:
        _check_axes(file, tensors["mid"], len(tensors["mid"].shape) == 4, "(rank, rank, k, k)")
        _check_axes(file, down, down.shape[2:] in ((), (1, 1)), "(rank, in, 1, 1) beside lora_mid")
        _check_ranks(file, up, tensors["mid"], 0)
        _check_ranks(file, tensors["mid"], down, 0)
    else:
        _check_ranks(file, up, down, 0)


def _check_axes(file: TensorFile, info: TensorInfo, fits: bool, wanted: str) -> None:
    if not fits or len(info.shape) < 2 or 0 in info.shape:
        raise InputError(
            f"a LoRA factor of shape {list(info.shape)}; it should be {wanted}",
            where=_place(file, info.name),
            fix="the file is damaged or no LoRA; save it again with the program that made it",
        )


def _check_ranks(file: TensorFile, left: TensorInfo, right: TensorInfo, axis: int) -> None:
    """Axis 1 of the left factor meets axis `axis` of the right one."""
    if left.shape[1] != right.shape[axis]:
        raise InputError(
            f"ranks differ: {left.shape[1]} in shape {list(left.shape)}, "
            f"{right.shape[axis]} in {right.name} of shape {list(right.shape)}",
            where=_place(file, left.name),
            fix="the file is damaged; save it again with the program that made it",
        )


def _read_alpha(file: TensorFile, info: TensorInfo) -> float:
    if info.numel != 1:
        raise InputError(
            f"alpha has shape {list(info.shape)}; it should be one number", where=_place(file, info.name)
        )
    alpha = read_scalar(file, info)
    if not math.isfinite(alpha) or alpha == 0:
        raise InputError(
            f"alpha is {alpha:g}, so the module has no usable scale",
            where=_place(file, info.name),
            fix="alpha is a finite number other than 0; the training or its save went wrong",
        )
    return alpha
