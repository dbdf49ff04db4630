"""The values of small codes, as tables: code → number. Closed forms of the published formats.

fp8 (E4M3 without infinities, E5M2) and the power-of-two scales E8M0: OCP 8-bit floating point and
Microscaling Formats specifications. E2M1: the fp4 of the latter.
"""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Table = NDArray[Any]


@cache
def table(name: str) -> Table:
    """256 or 16 numbers in the order of their codes; `name` is a dtype of the format, or 'E2M1'."""
    import numpy as np

    values: dict[str, list[float]] = {
        "F8_E4M3": [_float(code, 3, 7, finite=True) for code in range(256)],
        "F8_E5M2": [_float(code, 2, 15, finite=False) for code in range(256)],
        "F8_E8M0": [*(math.ldexp(1.0, code - 127) for code in range(255)), math.nan],
        "I8": [*range(128), *range(-128, 0)],
        "E2M1": [_float_4bit(code) for code in range(16)],
    }
    found = np.array(values[name], np.float32)
    found.flags.writeable = False
    return found


def _float(code: int, mantissa: int, bias: int, *, finite: bool) -> float:
    """An 8-bit float: sign, exponent, mantissa. finite: only the code of all ones is not a number."""
    sign = -1.0 if code & 0x80 else 1.0
    low = code & ((1 << mantissa) - 1)
    exponent = (code & 0x7F) >> mantissa
    top = 0x7F >> mantissa
    if exponent == top and finite and low == (1 << mantissa) - 1:
        return math.nan
    if exponent == top and not finite:
        return math.nan if low else sign * math.inf
    if exponent == 0:
        return sign * math.ldexp(low, 1 - bias - mantissa)
    return sign * math.ldexp(low + (1 << mantissa), exponent - bias - mantissa)


def _float_4bit(code: int) -> float:
    sign, size = (-1.0 if code & 8 else 1.0), code & 7
    return sign * (size / 2 if size < 2 else math.ldexp(2 + size % 2, size // 2 - 2))


MARGIN = 1.1
"""How much larger the rounding error of quantised weights may be than what normal weights have."""


def float_rounding(mantissa: int) -> float:
    """rms rounding error over rms value of floats with so many mantissa bits (see `lowrank/noise.py`)."""
    return MARGIN * math.ldexp(1 / math.sqrt(32 * math.log(2)), -mantissa)


def step_rounding(count: int, steps: float) -> float:
    """The same of `count` normal weights in equal steps, of which their largest size is `steps`.

    The error is a step / √12. The largest of n sizes is about the 0.5264^(1/n) quantile (Chen and Tyler,
    1999, for one tail; here of the half-normal distribution).
    """
    largest = NormalDist().inv_cdf((1 + 0.5264 ** (1 / count)) / 2)
    return MARGIN * largest / steps / math.sqrt(12)
