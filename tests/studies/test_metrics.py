"""Measures of difference against independent few-line references (numpy, scipy) and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import fft, ndimage, signal, stats

from loralathe.errors import InputError
from loralathe.likeness.intervals import estimate, student_cdf, student_quantile
from loralathe.studies.metrics import (
    Pixels,
    changed_percentage,
    difference_picture,
    gmsd,
    hamming,
    luma,
    perceptual_hash,
    pixels_of,
    ssim,
)


def noise(seed: int, height: int = 40, width: int = 36) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def near(seed: int, pixels: Pixels, amount: float = 12) -> Pixels:
    step = np.random.default_rng(seed).normal(0, amount, pixels.shape)
    return np.clip(pixels + step, 0, 255).astype(np.uint8)


@given(seed=st.integers(0, 10_000), threshold=st.integers(0, 255))
def test_lbw_number_and_pictures_are_exact(seed: int, threshold: int) -> None:
    a, b = noise(seed), near(seed + 1, noise(seed), 30)
    d = np.abs(a.astype(int) - b.astype(int))
    assert changed_percentage(a, b, threshold) == 100 * int((d > threshold).sum()) / (40 * 36 * 3)
    assert np.array_equal(difference_picture(a, b), d)
    assert np.array_equal(difference_picture(a, b, "white"), 255 - d)


def test_one_channel_counts_one_third_and_the_threshold_is_strict() -> None:
    a = np.zeros((2, 2, 3), np.uint8)
    b = a.copy()
    b[0, 0, 1] = 21
    b[0, 1] = 20
    assert changed_percentage(a, b, 20) == 100 / 12
    assert changed_percentage(a, b, 19) == 400 / 12


def reference_ssim(a: Pixels, b: Pixels) -> float:
    window = np.outer(w := signal.windows.gaussian(11, 1.5), w)
    window /= window.sum()
    x, y = luma(a), luma(b)
    mean = {
        n: signal.convolve2d(p, window, "valid")
        for n, p in {"x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y}.items()
    }
    mx, my = mean["x"], mean["y"]
    c1, c2 = 6.5025, 58.5225
    top = (2 * mx * my + c1) * (2 * (mean["xy"] - mx * my) + c2)
    return float((top / ((mx**2 + my**2 + c1) * (mean["xx"] - mx**2 + mean["yy"] - my**2 + c2))).mean())


@pytest.mark.parametrize("seed", range(3))
def test_ssim_equals_a_scipy_reference(seed: int) -> None:
    a = noise(seed)
    for b in (noise(seed + 9), near(1, a), near(2, a, 60)):
        assert ssim(a, b) == pytest.approx(reference_ssim(a, b), abs=1e-10)
    assert ssim(a, a) == pytest.approx(1, abs=1e-12)


def test_ssim_of_two_flat_pictures_is_the_closed_form() -> None:
    a, b = (np.full((20, 20, 3), value, np.uint8) for value in (50, 100))
    assert ssim(a, b) == pytest.approx((2 * 50 * 100 + 6.5025) / (50**2 + 100**2 + 6.5025), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_gmsd_equals_a_scipy_reference(seed: int) -> None:
    a, b = noise(seed), near(seed, noise(seed), 40)
    prewitt = np.array([[1, 0, -1]] * 3) / 3
    magnitudes = []
    for pixels in (a, b):
        half = ndimage.uniform_filter(luma(pixels), 2, origin=-1)[::2, ::2]
        magnitudes.append(
            np.hypot(*(ndimage.correlate(half, k, mode="nearest") for k in (prewitt, prewitt.T)))
        )
    m, n = magnitudes
    expected = np.std((2 * m * n + 170) / (m * m + n * n + 170))
    assert gmsd(a, b) == pytest.approx(expected, abs=1e-9)
    assert gmsd(a, a) == 0


def test_phash_equals_a_scipy_dct_and_survives_resizing() -> None:
    image = Image.fromarray(noise(3, 8, 8)).resize((160, 120), Image.Resampling.BICUBIC)
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), float)
    low = fft.dct(fft.dct(grey, axis=0), axis=1)[:8, :8]
    bits = "".join("01"[int(bit)] for bit in (low > np.median(low)).ravel())
    assert f"{perceptual_hash(image):064b}" == bits
    assert hamming(perceptual_hash(image), perceptual_hash(image.resize((320, 240)))) <= 4
    other = Image.fromarray(noise(4, 8, 8)).resize((160, 120), Image.Resampling.BICUBIC)
    assert hamming(perceptual_hash(image), perceptual_hash(other)) > 12


@pytest.mark.parametrize("measure", [changed_percentage, ssim, gmsd])
def test_sizes_must_agree(measure) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="different sizes"):
        measure(noise(1), noise(1, 48))


def test_ssim_of_a_speck_is_refused() -> None:
    with pytest.raises(InputError, match="11×11"):
        ssim(noise(1, 10, 30), noise(2, 10, 30))


def test_pixels_are_rgb() -> None:
    assert pixels_of(Image.new("RGBA", (3, 2), (1, 2, 3, 4))).shape == (2, 3, 3)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 29, 60])
def test_students_t_equals_scipy(freedom: int) -> None:
    for t in (-3.0, 0.0, 0.4, 1.7, 12.0):
        assert student_cdf(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), abs=1e-12)
    for p in (0.5, 0.9, 0.975, 0.995):
        assert student_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-9, abs=1e-9)


def test_an_interval_equals_scipy() -> None:
    values = [3.0, 4.5, 2.5, 5.0]
    got = estimate(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (got.mean, got.low, got.high) == pytest.approx((3.75, low, high))
    assert estimate([2.0]).low is None


def test_two_values_have_no_interval() -> None:
    """It would be nine times their distance to each side: Student's t of one degree of freedom is 12.7."""
    assert estimate([2.0, 3.0]).high is None
    assert estimate([2.0, 3.0, 4.0]).high == pytest.approx(3 + 4.302653 / np.sqrt(3))
