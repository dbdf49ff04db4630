"""The factors of a module as tensors, and their dense delta. alpha / rank is applied here, nowhere else."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from loralathe.adapters.fit import fits
from loralathe.adapters.fused import halves_swapped, side_by_side
from loralathe.adapters.kinds import family_of
from loralathe.adapters.modules import FAMILIES, AdapterModule
from loralathe.errors import InputError

if TYPE_CHECKING:
    import torch

    from loralathe.adapters.adapter import Adapter
    from loralathe.lowrank import Factors


def load_factors(adapter: Adapter, module: AdapterModule, dtype: torch.dtype | None = None) -> Factors:
    """Reads up (out, r), down (r, in·k·k) and the core, in `dtype` (fp32), with alpha / rank folded into up.

    With a core, down is (r, in). Kinds other than LoRA come as exact factors of their delta. Strengths are
    not folded in. Positional reads: safe from several threads. Raises InputError naming file and tensor when
    a value is not finite.
    """
    if module.pieces:
        loaded = [(row, load_factors(adapter, piece, dtype)) for row, piece in module.pieces]
        return side_by_side(loaded, module.shape)
    import torch

    kind_dtype = dtype or torch.float32

    def read(part: str) -> torch.Tensor:
        return _read(adapter, module, part, kind_dtype)

    made: Factors = FAMILIES[family_of(module.kind)].factors(read, module.tensors, module.shape)
    scaled = replace(made, up=made.up * module.scale)
    return halves_swapped(scaled) if module.swapped else scaled


def load_magnitudes(adapter: Adapter, module: AdapterModule) -> torch.Tensor | None:
    """A DoRA's magnitudes in fp32, (out,) or (in,), see `AdapterModule.magnitudes`; None without any."""
    import torch

    info = module.magnitude_part
    part = next((name for name, held in module.tensors.items() if held is info), None)
    return None if part is None else _read(adapter, module, part, torch.float32).flatten()


def _read(adapter: Adapter, module: AdapterModule, part: str, dtype: torch.dtype) -> torch.Tensor:
    info = module.tensors[part]
    tensor = adapter.file.read(info.name).to(dtype)
    # A finite sum has finite terms, and takes a tenth of the time of looking at each.
    if not math.isfinite(float(tensor.sum())) and not bool(tensor.isfinite().all()):
        raise InputError(
            "the tensor holds NaN or infinity",
            where=f"{adapter.file.path}, tensor '{info.name}'",
            fix="the training or its save went wrong; use another epoch of the LoRA",
        )
    return tensor


def delta(factors: Factors, weight_shape: tuple[int, ...]) -> torch.Tensor:
    """The dense difference in the weight's shape: up·down, with a core Σ_rs up[o,r] mid[r,s,·,·] down[s,i].

    A 1×1 convolution and a linear layer may stand for each other. ValueError when the shapes do not fit.
    """
    from loralathe.lowrank import dense

    if not fits(factors.shape, weight_shape):
        raise ValueError(f"factors of {factors.shape} make no delta for {weight_shape}")
    return dense(factors).reshape(weight_shape)
