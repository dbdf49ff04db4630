"""The dtypes of the safetensors format: their names, sizes, and what torch calls them.

The list is the `Dtype` enum of the safetensors crate. Torch is imported only when asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from loralathe.errors import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class DType:
    """One dtype. `bits` is the size of an element; `torch_name` is None where no torch tensor can hold it."""

    name: str
    bits: int
    torch_name: str | None
    is_float: bool


_ALL = (
    DType("BOOL", 8, "bool", False),
    DType("F4", 4, None, True),
    DType("F6_E2M3", 6, None, True),
    DType("F6_E3M2", 6, None, True),
    DType("U8", 8, "uint8", False),
    DType("I8", 8, "int8", False),
    DType("F8_E5M2", 8, "float8_e5m2", True),
    DType("F8_E4M3", 8, "float8_e4m3fn", True),
    DType("F8_E8M0", 8, "float8_e8m0fnu", True),
    DType("F8_E4M3FNUZ", 8, "float8_e4m3fnuz", True),
    DType("F8_E5M2FNUZ", 8, "float8_e5m2fnuz", True),
    DType("I16", 16, "int16", False),
    DType("U16", 16, "uint16", False),
    DType("F16", 16, "float16", True),
    DType("BF16", 16, "bfloat16", True),
    DType("I32", 32, "int32", False),
    DType("U32", 32, "uint32", False),
    DType("F32", 32, "float32", True),
    DType("C64", 64, "complex64", False),
    DType("F64", 64, "float64", True),
    DType("I64", 64, "int64", False),
    DType("U64", 64, "uint64", False),
)
DTYPES: Mapping[str, DType] = MappingProxyType({dtype.name: dtype for dtype in _ALL})
"""Every dtype of the format by its safetensors name, ordered by alignment (smallest first)."""

_RANK = {name: rank for rank, name in enumerate(DTYPES)}


def alignment_rank(name: str) -> int:
    """Place of a dtype in the format's order; files put larger ranks first so that data is aligned."""
    return _RANK[name]


def to_torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of a safetensors dtype; InputError when torch (or this torch) has none."""
    import torch

    known = DTYPES.get(name)
    if known is None:
        raise InputError(f"unknown dtype '{name}'", fix=f"one of {', '.join(DTYPES)}")
    found = getattr(torch, known.torch_name, None) if known.torch_name else None
    if not isinstance(found, torch.dtype):
        raise InputError(
            f"torch cannot compute with dtype {name}",
            fix="convert the file to F16, BF16 or F32 with the program that wrote it",
        )
    return found


def from_torch_dtype(dtype: torch.dtype) -> str:
    """The safetensors name of a torch dtype; InputError when the format has none (complex128, …)."""
    wanted = str(dtype).removeprefix("torch.")
    for known in _ALL:
        if known.torch_name == wanted:
            return known.name
    raise InputError(f"the safetensors format has no dtype for {dtype}", fix="cast the tensor first")


def tensor_bytes(tensor: torch.Tensor) -> memoryview:
    """The bytes of a CPU tensor as a file holds them; a view when it is contiguous, else of a copy.

    The view keeps the memory alive. Every torch dtype of the format works, bf16 and the fp8 types included.
    """
    import torch

    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
