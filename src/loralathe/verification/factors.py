"""Modules of an extracted adapter: are these factors the best of their rank for the formula's difference?

By Eckart–Young no matrix of rank k is closer to Δ than its truncated SVD, whose error √(Σ_{i>k} σ_i²) comes
from the singular values alone: the roots of the eigenvalues of ΔΔᵀ, here in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from loralathe.lowrank import ARITHMETIC_ROUNDING, NOISE_EDGE, absolute_rounding, relative_rounding

TOLERANCE = 0.01
"""An error this much over the optimum is what the randomized search may leave on white noise."""
ROUNDINGS = 4.0
"""Rounding of the factors to their dtype, in rms errors of one element, that the product may show."""
ELEMENT = 12.0
"""The same for one element of a factor, beside its own last bit."""
FP32 = 2e-6
"""Relative error of a decomposition in fp32."""
BORDER = 0.1
"""Singular values this close to the noise floor may be counted or not: the search settles them last."""


@dataclass(frozen=True)
class Spectrum:
    """A difference and its singular values, float64, falling; delta is (rows, columns) as stored."""

    delta: Tensor
    values: Tensor
    total: float

    @staticmethod
    def of(delta: Tensor) -> Spectrum:
        gram = delta @ delta.T if delta.shape[0] <= delta.shape[1] else delta.T @ delta
        values = torch.linalg.eigvalsh(gram).flip(0).clamp(min=0.0).sqrt()
        return Spectrum(delta, values, float(delta.square().sum()))

    def least_error(self, rank: int) -> float:
        """‖Δ − Δ_k‖_F (Eckart–Young)."""
        return math.sqrt(float(self.values[rank:].square().sum()))

    def ranks(self, wanted: int, floor: float) -> tuple[int, int]:
        """Least and largest rank that fit a rank asked for and a noise floor (`lowrank.choose_rank`)."""
        largest = float(self.values[0]) if len(self.values) else 0.0
        if largest == 0.0:
            return 0, 0
        edge = max(NOISE_EDGE * floor, ARITHMETIC_ROUNDING * largest)
        allowed = min(wanted, *self.delta.shape)
        counts = [int((self.values > edge * factor).sum()) for factor in (1.0 + BORDER, 1.0 - BORDER)]
        return min(counts[0], allowed), min(counts[1], allowed)


@dataclass(frozen=True)
class Judgement:
    """excess: error over the least possible, 0.01 is 1 %;  problems: in words."""

    excess: float
    problems: tuple[str, ...]


def judge(spectrum: Spectrum, up: Tensor, down: Tensor, dtype: str) -> Judgement:
    """Factors as stored, scale inside: up (rows, k), down (k, columns) in float64; dtype: of the file."""
    rank = up.shape[1]
    error = float((spectrum.delta - up @ down).norm())
    least = spectrum.least_error(rank)
    size = math.sqrt(spectrum.total)
    rounding = (ROUNDINGS * relative_rounding(dtype) + FP32) * size + _subnormal(up, down, dtype)
    problems = []
    # "Not within" rather than "beyond": NaN is within nothing.
    if not error <= (1.0 + TOLERANCE) * least + rounding:
        problems.append(
            f"the factors miss the difference by {100 * error / size if size else math.inf:.3g} %, "
            f"the best of rank {rank} by {100 * least / size if size else 0.0:.3g} %"
        )
    elif (odd := _odd_elements(spectrum.delta, up, down, dtype)) > 0:
        problems.append(f"{odd} numbers of the factors do not fit the rest of them")
    beyond = max(0.0, error - rounding)
    return Judgement(beyond / least - 1.0 if beyond > least > 0.0 else 0.0, tuple(problems))


def _odd_elements(delta: Tensor, up: Tensor, down: Tensor, dtype: str) -> int:
    """Elements of one factor that are not the least-squares fit to the other one.

    The factors are U√S and √S·Vᵀ with U·S·Vᵀ = U·Uᵀ·Δ (or Δ·V·Vᵀ, for the longer side): given one factor, the
    other one is its fit to Δ up to rounding. Rounding of the first one reaches direction i with
    ε·‖Δ‖/(√rows·σ_i), the arithmetic of the decomposition with its own ε times ‖Δ‖/σ_i.
    """
    if delta.shape[0] > delta.shape[1]:
        return _odd_elements(delta.T, down.T, up.T, dtype)
    fitted = torch.linalg.lstsq(up, delta).solution
    sizes = up.norm(dim=0) * down.norm(dim=1)
    strong = float(delta.norm()) / sizes
    relative = relative_rounding(dtype) * (1.0 + strong / math.sqrt(up.shape[0])) + FP32 * strong
    row_rms = down.norm(dim=1) / math.sqrt(down.shape[1])
    last_bit = 8.0 * relative_rounding(dtype) * down.abs()
    allowed = last_bit + (ELEMENT * relative * row_rms)[:, None] + 8.0 * absolute_rounding(dtype)
    return int((~((fitted - down).abs() <= allowed)).sum())


def _subnormal(up: Tensor, down: Tensor, dtype: str) -> float:
    """What numbers too small for the dtype lose, in the product's norm."""
    lost = absolute_rounding(dtype)
    return lost * (math.sqrt(down.numel()) * float(up.norm()) + math.sqrt(up.numel()) * float(down.norm()))
