"""Random numbers that belong to an element, not to an order of drawing.

Any band can be drawn by itself, so a mask is the same on any number of threads and on any device.
"""

from __future__ import annotations

import zlib

import numpy as np

PER_BLOCK = 8
"""32-bit numbers that one value of Philox's counter gives."""


def uniform_bits(name: str, seed: int, start: int, count: int) -> np.ndarray:
    """`count` 32-bit numbers, uniform and independent, for the elements start, start + 1, … of a tensor.

    Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), keyed by the seed
    and the tensor's canonical name, its counter the element's index.
    """
    block, skip = divmod(start, PER_BLOCK)
    philox = np.random.Philox(counter=block, key=seed << 64 | zlib.crc32(name.encode()))
    words = philox.random_raw(-(-(skip + count) // 2))
    return words.astype("<u8", copy=False).view("<u4")[skip : skip + count]
