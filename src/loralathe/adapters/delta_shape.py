"""What a module's tensors make of it, told from their shapes; and the errors of tensors that fit nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from loralathe.errors import InputError
from loralathe.tensorfiles import DTYPES, TensorFile, TensorInfo

Tensors = Mapping[str, TensorInfo]
"""Part of a module, in the words of its kind → where it lies."""


@dataclass(frozen=True, slots=True)
class DeltaShape:
    """shape:   of the delta, (out, in), (out, in, k, k), or (channels,)
    rank:    of the exact factors that `load_factors` gives: an upper bound of the delta's rank
    divisor: alpha is divided by it; None where the kind has no scale
    """

    shape: tuple[int, ...]
    rank: int
    divisor: int | None


def place(file: TensorFile, key: str) -> str:
    return f"{file.path}, tensor '{key}'"


def check_partners(file: TensorFile, raw_name: str, kind: str, missing: list[str]) -> None:
    """Raises InputError when a module lacks tensors; `kind` in the words of people."""
    if missing:
        raise InputError(
            f"{' and '.join(missing)} of a {kind} module {'is' if len(missing) == 1 else 'are'} missing",
            where=f"{file.path}, module '{raw_name}'",
            fix="download or save the file again; it is incomplete",
        )


def check_floats(file: TensorFile, kind: str, tensors: Tensors) -> None:
    for part, info in tensors.items():
        if part != "alpha" and not DTYPES[info.dtype].is_float:
            raise InputError(
                f"a {kind} factor of dtype {info.dtype}",
                where=place(file, info.name),
                fix="factors are floating-point; quantised LoRAs are not read",
            )


def check_axes(file: TensorFile, kind: str, info: TensorInfo, fits: bool, wanted: str) -> None:
    if not fits or 0 in info.shape:
        raise InputError(
            f"a {kind} factor of shape {list(info.shape)}; it should be {wanted}",
            where=place(file, info.name),
            fix="the file is damaged or no LoRA; save it again with the program that made it",
        )


def check_ranks(file: TensorFile, left: TensorInfo, right: TensorInfo, axes: tuple[int, int]) -> None:
    """Axis axes[0] of the left factor meets axis axes[1] of the right one."""
    if left.shape[axes[0]] != right.shape[axes[1]]:
        raise InputError(
            f"ranks differ: {left.shape[axes[0]]} in shape {list(left.shape)}, "
            f"{right.shape[axes[1]]} in {right.name} of shape {list(right.shape)}",
            where=place(file, left.name),
            fix="the file is damaged; save it again with the program that made it",
        )


def unflattened(file: TensorFile, info: TensorInfo, width: int, kernel: int) -> tuple[int, ...]:
    """(in,) or (in, k, k) of a factor that stores a kernel's columns in one axis of `width`."""
    if kernel == 1:
        return (width,)
    if width % kernel**2:
        raise InputError(
            f"a factor of {width} columns for a convolution of {kernel}×{kernel}",
            where=place(file, info.name),
            fix="the LoRA was made for another model, or the file is damaged",
        )
    return (width // kernel**2, kernel, kernel)


def smaller_side(shape: tuple[int, ...]) -> int:
    """The rank that no delta of this shape exceeds."""
    return min(shape[0], math.prod(shape[1:]))
