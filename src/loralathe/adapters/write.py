"""Factors as the tensors of a kohya file: names, shapes, alpha, rounding to the dtype of the file.

alpha is one number for the whole file, because readers of metadata, and most people, expect that; the factors
carry the rest: both are scaled by √(rank / alpha), so that alpha / rank · up · down is the delta.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from loralathe.errors import InputError, option
from loralathe.families import Family
from loralathe.tensorfiles import TensorSpec, to_torch_dtype

if TYPE_CHECKING:
    import torch

    from loralathe.lowrank import Factors

ADAPTER_DTYPES = ("F16", "BF16", "F32")


class NamedTensor(NamedTuple):
    """A tensor ready to be written; `dtype` is the safetensors name."""

    name: str
    dtype: str
    tensor: torch.Tensor


@dataclass(frozen=True, slots=True)
class AdapterFormat:
    """How a file is written.

    family:       gives the kohya names
    alpha:        written beside every module, the nominal rank
    dtype:        F16, BF16 or F32
    pad_to:       rank that every module is padded to with zeros, for readers that know one rank only
    """

    family: Family
    alpha: float
    dtype: str = "F16"
    pad_to: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ADAPTER_DTYPES:
            raise InputError(
                f"a LoRA is not written in {self.dtype}", fix="use one of " + ", ".join(ADAPTER_DTYPES)
            )
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise InputError(f"alpha {self.alpha:g} cannot be written", fix="use a number above 0")


def kohya_tensors(
    module_name: str, factors: Factors, weight_shape: tuple[int, ...], adapter_format: AdapterFormat
) -> tuple[NamedTensor, ...]:
    """lora_up, lora_down, alpha (and lora_mid) of one module, whose delta is that of `factors`.

    `weight_shape` is that of the base's weight, (out, in) or (out, in, k, k), and decides between the shapes
    of a linear layer and of a convolution. Raises InputError for values that are not finite or overflow the
    dtype, KeyError for a module that has no kohya name, ValueError when the pad rank is below the module's.
    """
    raw_name = adapter_format.family.kohya_name(module_name)
    rank = (
        max(factors.up.shape[1], factors.down.shape[0])
        if adapter_format.pad_to is None
        else adapter_format.pad_to
    )
    balance = math.sqrt(rank / adapter_format.alpha)
    up, down, mid = _padded(factors, rank)
    parts = {"lora_up": up * balance, "lora_down": down * balance}
    if mid is not None:
        parts["lora_mid"] = mid
    shapes = _shapes(rank, weight_shape, has_core=mid is not None)
    tensors = [
        _cast(f"{raw_name}.{part}.weight", tensor.reshape(shapes[part]), adapter_format.dtype)
        for part, tensor in parts.items()
    ]
    return (*tensors, _alpha(raw_name, adapter_format))


def kohya_specs(
    module_name: str, rank: int, weight_shape: tuple[int, ...], adapter_format: AdapterFormat
) -> tuple[TensorSpec, ...]:
    """The tensors that `kohya_tensors` makes of factors of this rank, as shapes."""
    raw_name = adapter_format.family.kohya_name(module_name)
    shapes = _shapes(
        rank if adapter_format.pad_to is None else adapter_format.pad_to, weight_shape, has_core=False
    )
    parts = [
        TensorSpec(f"{raw_name}.{part}.weight", adapter_format.dtype, shapes[part])
        for part in ("lora_up", "lora_down")
    ]
    alpha = _alpha(raw_name, adapter_format)
    return (*parts, TensorSpec(alpha.name, alpha.dtype, ()))


def completions(
    written: Mapping[str, tuple[int, ...]], adapter_format: AdapterFormat
) -> dict[str, tuple[int, ...]]:
    """Modules to be written as zeros, because readers ignore those beside them otherwise → their shape.

    written: modules of a file → shape of the weight. See `Family.read_together`.
    """
    found = {}
    for name, shape in written.items():
        for other in adapter_format.family.read_together(name):
            if other not in written:
                found[other] = shape  # all four are square
    return dict(sorted(found.items()))


def zero_tensors(
    module_name: str, weight_shape: tuple[int, ...], adapter_format: AdapterFormat
) -> tuple[NamedTensor, ...]:
    """The tensors of a module that changes nothing, of rank 1."""
    import torch

    from loralathe.lowrank import Factors

    out, width = weight_shape[0], math.prod(weight_shape[1:])
    factors = Factors(torch.zeros(out, 1), torch.zeros(1, width), weight_shape)
    return kohya_tensors(module_name, factors, weight_shape, adapter_format)


def _padded(factors: Factors, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """The factors with zeros up to `rank`, a core made square; ValueError when they have more already."""
    from torch.nn.functional import pad

    up, down, mid = factors.up, factors.down, factors.mid
    missing = (rank - up.shape[1], rank - down.shape[0])
    if min(missing) < 0:
        raise ValueError(f"rank {max(up.shape[1], down.shape[0])} cannot be padded to {rank}")
    if missing == (0, 0):
        return up, down, mid
    if mid is not None:
        mid = pad(mid, (0, 0, 0, 0, 0, missing[1], 0, missing[0]))
    return pad(up, (0, missing[0])), pad(down, (0, 0, 0, missing[1])), mid


def _shapes(rank: int, weight_shape: tuple[int, ...], *, has_core: bool) -> dict[str, tuple[int, ...]]:
    out, inner, *kernel = weight_shape
    if not kernel:
        return {"lora_up": (out, rank), "lora_down": (rank, inner)}
    core = tuple(kernel)
    return {
        "lora_up": (out, rank, 1, 1),
        "lora_down": (rank, inner, 1, 1) if has_core else (rank, inner, *core),
        "lora_mid": (rank, rank, *core),
    }


def _cast(name: str, tensor: torch.Tensor, dtype: str) -> NamedTensor:
    rounded = tensor.to(to_torch_dtype(dtype))
    if not bool(rounded.isfinite().all()):
        finite = bool(tensor.isfinite().all())
        raise InputError(
            f"a value of {float(tensor.abs().max()):.3g} overflows {dtype}" if finite else "NaN or infinity",
            where=f"tensor '{name}'",
            fix=f"save with {option('dtype', 'bf16')} or {option('dtype', 'fp32')}"
            if finite
            else f"check the inputs with {option('check_finite', True)}",
        )
    return NamedTensor(name, dtype, rounded.contiguous())


def _alpha(raw_name: str, adapter_format: AdapterFormat) -> NamedTensor:
    """alpha in the dtype of the file, or in F32 where that cannot hold the number exactly (301 in BF16)."""
    import torch

    exact = torch.tensor(adapter_format.alpha, dtype=torch.float32)
    rounded = exact.to(to_torch_dtype(adapter_format.dtype))
    if rounded.item() == adapter_format.alpha:
        return NamedTensor(f"{raw_name}.alpha", adapter_format.dtype, rounded)
    return NamedTensor(f"{raw_name}.alpha", "F32", exact)
