"""The factors of a module as tensors, and their dense delta. alpha / rank is applied here and nowhere else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import InputError
from .modules import AdapterModule

if TYPE_CHECKING:
    import torch

    from ..lowrank import Factors
    from .adapter import Adapter


def load_factors(adapter: Adapter, module: AdapterModule, dtype: torch.dtype | None = None) -> Factors:
    """Reads up (out, r), down (r, in·k·k) and the core, in `dtype` (fp32), with alpha / rank folded into up.

    With a core, down is (r, in). Strengths are not folded in. Positional reads: safe from several threads.
    Raises InputError naming file and tensor when a value is not finite.
    """
    import torch

    from ..lowrank import Factors

    dtype = dtype or torch.float32
    up = _read(adapter, module, "up", dtype).flatten(1)
    down = _read(adapter, module, "down", dtype).flatten(1)
    mid = _read(adapter, module, "mid", dtype) if "mid" in module.tensors else None
    return Factors(up=up * module.scale, down=down, mid=mid, shape=module.shape)


def _read(adapter: Adapter, module: AdapterModule, part: str, dtype: torch.dtype) -> torch.Tensor:
    info = module.tensors[part]
    tensor = adapter.file.read(info.name).to(dtype)
    if not bool(tensor.isfinite().all()):
        raise InputError(
            "the tensor holds NaN or infinity",
            where=f"{adapter.file.path}, tensor '{info.name}'",
            fix="the training or its save went wrong; use another epoch of the LoRA",
        )
    return tensor


def delta(factors: Factors, weight_shape: tuple[int, ...]) -> torch.Tensor:
    """The dense difference up·down, or Σ_rs up[o,r] mid[r,s,·,·] down[s,i] with a core, in the weight's shape.

    A 1×1 convolution and a linear layer may stand for each other. ValueError when the sizes do not agree.
    """
    out, inner = factors.up.shape[0], factors.down.shape
    kernel = tuple(factors.mid.shape[2:]) if factors.mid is not None else ()
    if (out, inner[1] * math.prod(kernel)) != (weight_shape[0], math.prod(weight_shape[1:])):
        raise ValueError(f"factors of {tuple(factors.shape)} make no delta for {tuple(weight_shape)}")
    if factors.mid is None:
        return (factors.up @ factors.down).reshape(weight_shape)
    # Down first: (r, s, k, k) × (s, i) is the small product, so the large one is a single matmul.
    right = factors.mid.movedim(1, -1) @ factors.down  # (r, k, k, i)
    right = right.movedim(-1, 1).flatten(1)  # (r, i·k·k)
    return (factors.up @ right).reshape(weight_shape)
