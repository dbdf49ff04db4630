"""The rounding formulas against simulated rounding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from loralathe.lowrank import (
    absolute_rounding,
    relative_rounding,
    rounding_noise_energy,
    rounding_noise_sigma,
    rounding_rms,
)
from lowrank.matrices import generator, normal

TORCH = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


def rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def rounding_error(values: Tensor, dtype: str) -> Tensor:
    return values - values.to(TORCH[dtype]).double()


@pytest.mark.parametrize("dtype", TORCH)
def test_log_uniform_mantissas_meet_the_closed_form(dtype: str) -> None:
    values = 2.0 ** torch.rand(400_000, generator=generator(1), dtype=torch.float64)
    measured = rms(rounding_error(values, dtype) / values)
    assert measured == pytest.approx(relative_rounding(dtype), rel=0.01)


@pytest.mark.parametrize("scale", [1.0, 0.03, 0.022, 0.041, 0.3])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F8_E5M2"])
def test_normal_weights_are_within_two_percent(dtype: str, scale: float) -> None:
    values = normal(400_000) * scale
    assert rms(rounding_error(values, dtype)) == pytest.approx(rounding_rms(scale, dtype), rel=0.02)


@pytest.mark.parametrize(
    ("dtype", "scale"), [("F16", 1e-6), ("F16", 5e-6), ("F8_E5M2", 5e-5), ("F8_E4M3", 4e-3)]
)
def test_subnormal_weights_have_the_absolute_error(dtype: str, scale: float) -> None:
    values = normal(400_000) * scale
    assert rounding_rms(scale, dtype) == absolute_rounding(dtype)
    assert rms(rounding_error(values, dtype)) == pytest.approx(absolute_rounding(dtype), rel=0.05)


def test_what_rounds_to_zero_loses_no_more_than_itself() -> None:
    assert rms(rounding_error(normal(1000) * 1e-9, "F16")) == pytest.approx(rms(normal(1000) * 1e-9))
    assert rounding_rms(1e-9, "F16") == 1e-9
    assert rounding_rms(0.0, "F16") == 0.0


def test_the_subnormal_step_of_fp16_is_two_to_the_minus_24() -> None:
    assert absolute_rounding("F16") == pytest.approx(2.0**-24 / math.sqrt(12))
    assert absolute_rounding("BF16") < 1e-40


@pytest.mark.long
@pytest.mark.parametrize("shape", [(320, 320), (640, 2560), (1280, 320)], ids=str)
@pytest.mark.parametrize(("dtype", "scale"), [("F16", 0.03), ("BF16", 0.03), ("F16", 1e-6), ("F8_E4M3", 0.5)])
def test_the_floor_is_the_largest_singular_value_of_rounding(
    shape: tuple[int, int], dtype: str, scale: float
) -> None:
    noise = rounding_error(normal(*shape) * scale, dtype)
    measured = float(torch.linalg.svdvals(noise)[0])
    floor = rounding_noise_sigma(scale, shape, dtype)
    assert 0.9 * floor <= measured <= 1.05 * floor
    assert float(noise.square().sum()) == pytest.approx(rounding_noise_energy(scale, shape, dtype), rel=0.12)


def test_the_coarser_dtype_decides() -> None:
    assert rounding_rms(0.03, ["F32", "BF16", "F16"]) == rounding_rms(0.03, "BF16")


def test_unknown_dtypes_are_named() -> None:
    with pytest.raises(ValueError, match="'I64'; known: F64, F32"):
        rounding_rms(1.0, "I64")
