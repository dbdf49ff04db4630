"""Rounding noise: the part of a difference of weights that comes from rounding in the input files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """Stored mantissa bits, and the exponent of the smallest normal number."""

    mantissa: int
    smallest_exponent: int


FLOAT_FORMATS: Final = MappingProxyType(
    {
        "F64": FloatFormat(52, -1022),
        "F32": FloatFormat(23, -126),
        "F16": FloatFormat(10, -14),
        "BF16": FloatFormat(7, -126),
        "F8_E4M3": FloatFormat(3, -6),
        "F8_E5M2": FloatFormat(2, -14),
    }
)
"""By safetensors dtype name."""


def relative_rounding(dtype: str) -> float:
    """ε: rms rounding error over rms value, for normal numbers rounded to nearest.

    A value x = y·2^e, y in [1, 2), lies between numbers 2^(e−t) apart (t mantissa bits), so its error has the
    variance 2^(2e−2t)/12 = x²·2⁻²ᵗ/(12·y²). Weights of any distribution that spans a few binades have
    logarithmically uniform y, independent of x: E[1/y²] = ∫₁² y⁻³ dy / ln 2 = 3/(8·ln 2). Hence
    ε = 2⁻ᵗ / √(32·ln 2) ≈ 0.212 · 2⁻ᵗ: 2.1e-4 for fp16, 1.7e-3 for bf16. Normal weights stay within 2 %
    of it at every scale.
    """
    return math.ldexp(1 / math.sqrt(32 * math.log(2)), -_format(dtype).mantissa)


def absolute_rounding(dtype: str) -> float:
    """rms error among subnormal numbers, whose spacing is constant: 2^(e_min − t)/√12; fp16: 2⁻²⁴/√12."""
    form = _format(dtype)
    return math.ldexp(1 / math.sqrt(12), form.smallest_exponent - form.mantissa)


Rounding = str | tuple[float, float]
"""What values were rounded to: a dtype; or, of quantised weights, the rms error over the rms value, and the
least rms error whatever the values."""


def rounding_rms(rms_weight: float, dtype: str | Sequence[Rounding]) -> float:
    """rms error of one element when weights of rms `rms_weight` are rounded to the coarsest of `dtype`.

    The larger of the relative and the subnormal error, and never more than the weight itself, which is the
    error where everything rounds to zero.
    """
    given: Sequence[Rounding] = [dtype] if isinstance(dtype, str) else dtype
    return max(min(_error(rms_weight, one), rms_weight) for one in given)


def _error(rms_weight: float, rounding: Rounding) -> float:
    if isinstance(rounding, tuple):
        return max(rounding[0] * rms_weight, rounding[1])
    return max(relative_rounding(rounding) * rms_weight, absolute_rounding(rounding))


def rounding_noise_sigma(rms_weight: float, shape: tuple[int, int], dtype: str | Sequence[Rounding]) -> float:
    """Largest singular value that rounding alone gives a difference of (out, in) weights: the noise floor.

        σ = ε · rms(W) · (√out + √in)

    ε·rms(W) is `rounding_rms`: the rms error of one element, in the coarser of the input dtypes. Errors of
    different elements are independent, and an (out, in) matrix of independent entries of standard deviation s
    has its largest singular value at s·(√out + √in) (Bai–Yin; Vershynin 2018, Theorem 4.4.5 and §4.6).
    """
    out, width = shape
    return rounding_rms(rms_weight, dtype) * (math.sqrt(out) + math.sqrt(width))


def rounding_noise_energy(
    rms_weight: float, shape: tuple[int, ...], dtype: str | Sequence[Rounding]
) -> float:
    """Expected ‖rounding error‖_F² of a weight of `shape`: a perfect extraction leaves it over."""
    return rounding_rms(rms_weight, dtype) ** 2 * math.prod(shape)


def _format(dtype: str) -> FloatFormat:
    try:
        return FLOAT_FORMATS[dtype]
    except KeyError:
        known = ", ".join(FLOAT_FORMATS)
        raise ValueError(f"unknown rounding of dtype {dtype!r}; known: {known}") from None
