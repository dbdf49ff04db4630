"""How different two pictures are. Pure numpy.

Pictures are arrays (height, width, 3) uint8 in RGB; InputError where two pictures differ in size.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loralathe.errors import InputError

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float64]
Background = Literal["black", "white"]
SSIM_WINDOW = 11


def pixels_of(image: Image.Image) -> Pixels:
    """(height, width, 3) uint8."""
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _check(a: Pixels, b: Pixels) -> None:
    if a.shape != b.shape:
        sizes = " and ".join(f"{p.shape[1]}×{p.shape[0]}" for p in (a, b))
        raise InputError("pictures of different sizes cannot be compared", where=sizes)


def absolute_difference(a: Pixels, b: Pixels) -> Pixels:
    """|a − b| per pixel and channel, uint8."""
    _check(a, b)
    return np.maximum(a, b) - np.minimum(a, b)


def difference_picture(a: Pixels, b: Pixels, background: Background = "black") -> Pixels:
    """LoRA Block Weight's picture: |a − b| on black, 255 − |a − b| on white. No threshold takes part."""
    difference = absolute_difference(a, b)
    inverted: Pixels = 255 - difference
    return difference if background == "black" else inverted


def changed_percentage(a: Pixels, b: Pixels, threshold: int = 20) -> float:
    """LoRA Block Weight's number: percentage of channel values with |a − b| strictly above the threshold.

    A pixel that changes in one channel only counts one third.
    """
    difference = absolute_difference(a, b)
    return 100.0 * int(np.count_nonzero(difference > threshold)) / difference.size


def luma(pixels: Pixels) -> Plane:
    """Rec. 601 luma, (height, width) float64 in 0…255, not rounded."""
    weights = np.array([0.299, 0.587, 0.114])
    plane: Plane = pixels.astype(np.float64) @ weights
    return plane


def _filter(plane: Plane, kernel: Plane, axis: int) -> Plane:
    """Correlation with a short kernel along one axis, only where it fits entirely."""
    length = plane.shape[axis] - len(kernel) + 1
    total = np.zeros([length if i == axis else n for i, n in enumerate(plane.shape)])
    for offset, weight in enumerate(kernel):
        window = slice(offset, offset + length)
        total += weight * (plane[window] if axis == 0 else plane[:, window])
    return total


def ssim(a: Pixels, b: Pixels) -> float:
    """Mean structural similarity of the lumas; 1 for equal pictures.

    Wang, Bovik, Sheikh, Simoncelli 2004: 11×11 Gaussian window of σ = 1.5, K₁ = 0.01, K₂ = 0.03, L = 255,
    the window only where it fits. Raises InputError under 11 pixels.
    """
    _check(a, b)
    if min(a.shape[:2]) < SSIM_WINDOW:
        raise InputError("SSIM needs pictures of at least 11×11 pixels", where=f"{a.shape[1]}×{a.shape[0]}")
    offsets = np.arange(-5, 6)
    kernel = np.exp(-(offsets**2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    x, y = luma(a), luma(b)

    def mean(plane: Plane) -> Plane:
        return _filter(_filter(plane, kernel, 0), kernel, 1)

    mx, my = mean(x), mean(y)
    vx, vy, covariance = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(similarity.mean())


def gmsd(a: Pixels, b: Pixels) -> float:
    """Gradient magnitude similarity deviation of the lumas: 0 for equal pictures, near 0.3 for unrelated.

    Xue, Zhang, Mou, Bovik 2014, c = 170: Prewitt gradients after halving by 2×2 means, and the standard
    deviation of their similarity. It follows structure that people see more closely than pixel counts do.
    """
    _check(a, b)
    first, second = (_gradient(_halved(luma(pixels))) for pixels in (a, b))
    similarity = (2 * first * second + 170) / (first**2 + second**2 + 170)
    return float(similarity.std())


def _halved(plane: Plane) -> Plane:
    h, w = plane.shape[0] // 2 * 2, plane.shape[1] // 2 * 2
    quarters: Plane = plane[:h, :w].reshape(h // 2, 2, w // 2, 2).mean(axis=(1, 3))
    return quarters


def _gradient(plane: Plane) -> Plane:
    padded = np.pad(plane, 1, mode="edge")
    box, slope = np.full(3, 1 / 3), np.array([1.0, 0.0, -1.0])
    across = _filter(_filter(padded, box, 0), slope, 1)
    down = _filter(_filter(padded, slope, 0), box, 1)
    magnitude: Plane = np.hypot(across, down)
    return magnitude


def perceptual_hash(image: Image.Image) -> int:
    """64-bit pHash: signs, about their median, of the 8×8 lowest DCT-II terms of a 32×32 grey thumbnail."""
    grey = image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    samples = np.asarray(grey, dtype=np.float64)
    index = np.arange(32)
    basis = np.cos(np.pi * np.arange(8)[:, None] * (2 * index[None, :] + 1) / 64)  # (8, 32)
    low = basis @ samples @ basis.T
    bits = (low > np.median(low)).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def hamming(a: int, b: int) -> int:
    """Number of different bits."""
    return (a ^ b).bit_count()
