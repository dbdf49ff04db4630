"""What pictures will take, told before anything is loaded: memory from the model's header, time from rates.

Memory is computed, not measured: the numbers of the networks in the dtype that is computed in, and the
working memory of the U-Net and of the VAE by the picture's size. What the GPU's own libraries take, LoRAs
and the rest of the program come on top.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.rendering.machine import BYTES_PER_LATENT
from loralathe.rendering.rates import known_rate
from loralathe.rendering.request import ImageRequest
from loralathe.tensorfiles import read_header

if TYPE_CHECKING:
    from loralathe.families import Family
    from loralathe.families.recognition import TensorLike

TILE = 512
"""Pixels of a side of what the VAE decodes at once with low_vram."""
LIVE_IN_DECODER = 4
"""Tensors as large as the widest at full size that decoding holds at once (1.02 to 1.3 of it, measured)."""
WIDEST_IN_DECODER = "decoder.up.0.block.0.conv1.weight"
"""The layer that takes the most channels at the picture's full size."""
USUAL_CHANNELS = 256
LIVE_IN_TRANSFORMER = 18
"""Numbers for each token and each of its channels that a block holds at once: q, k, v, the MLP, what both
make, and the sums beside them."""
SECONDS_OF_A_STEP = 0.1
"""What even a step of the smallest model takes."""
SECONDS_OF_WORK = {"cpu": 2e-14, "mps": 2e-15, "cuda": 2e-16}
"""For each number of the U-Net and each pixel: about 5 s for a step of SD 1.5 at 512×512 on a CPU."""
_BLOCK = re.compile(r".*?(layers|blocks?|refiner)\.\d+\.")
DTYPE_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True)
class Memory:
    """Bytes on the device at the worst moment, for one picture at a time, and for each more of a batch."""

    one: int
    more: int


@dataclass(frozen=True)
class Time:
    """Seconds of all steps, and the sizes at which a step was measured; None where none was yet.

    guess: seconds by the model's size and the device alone, where no step was measured.
    """

    seconds: float | None = None
    measured_at: str | None = None
    guess: float | None = None

    def shared(self, processes: int) -> Time:
        """When so many do the work at once."""
        seconds, guess = (None if one is None else one / processes for one in (self.seconds, self.guess))
        return Time(seconds, self.measured_at, guess)


@dataclass(frozen=True)
class Numbers:
    """Of a network. at_once: what is on the device where its blocks come one by one, the largest of them."""

    all: int
    at_once: int

    @classmethod
    def of(cls, tensors: Iterable[tuple[str, TensorLike]]) -> Numbers:
        blocks, rest = Counter[str](), 0
        for key, tensor in tensors:
            count = prod(tensor.shape)
            if block := _BLOCK.match(key):
                blocks[block[0]] += count
            else:
                rest += count
        return cls(rest + blocks.total(), rest + max(blocks.values(), default=0))


def memory_of(
    family: Family,
    tensors: Mapping[str, TensorLike],
    size: tuple[int, int],
    dtype: str,
    *,
    low_vram: bool,
    elsewhere: Mapping[str, Numbers] | None = None,
) -> Memory:
    """Of pictures with this model. tensors: of the checkpoint's header.

    elsewhere: text encoders in files of their own.
    """
    each = DTYPE_BYTES[dtype]
    own: dict[str, list[tuple[str, TensorLike]]] = {component.id: [] for component in family.components}
    for key, tensor in tensors.items():
        if (component := family.component_of_key(key)) is not None:
            own[component].append((key, tensor))
    numbers = {name: Numbers.of(held) for name, held in own.items()} | dict(elsewhere or {})
    by_blocks = low_vram and family.pictures is not None and family.pictures.flow
    weights = {
        name: each * (one.at_once if by_blocks and name != "vae" else one.all)
        for name, one in numbers.items()
    }
    width, height = size
    steps = _working(family, tensors, size, each)
    vae, unet = weights.pop("vae", 0), weights["unet"]
    if (
        low_vram
    ):  # one network, or what is there of it, beside the VAE, then the VAE alone, which decodes in tiles
        decoding = _decoding(tensors, min(width, TILE) * min(height, TILE), each)
        return Memory(vae + max(*weights.values(), unet + steps, decoding), steps)
    return Memory(vae + sum(weights.values()) + max(steps, _decoding(tensors, width * height, each)), steps)


def _working(family: Family, tensors: Mapping[str, TensorLike], size: tuple[int, int], each: int) -> int:
    """Of the U-Net or transformer for one picture."""
    width, height = size
    pictures = family.pictures
    if pictures is None or not pictures.flow:
        return (width // 8) * (height // 8) * BYTES_PER_LATENT * each // 2
    text = sum(reading.tokens.most for reading in pictures.readings if reading.tokens)
    patches = (width // pictures.multiple) * (height // pictures.multiple)
    entry = (t for key, t in tensors.items() if family.modern_key(key) == family.entry_key)
    wide = next((tensor.shape[0] for tensor in entry), 0)
    return (patches + text) * wide * LIVE_IN_TRANSFORMER * each


def numbers_of_files(files: Mapping[str, Path]) -> dict[str, Numbers]:
    """Of text encoders in files of their own: all that the files hold."""
    found = {}
    for component, file in files.items():
        inside = sorted(file.glob("*.safetensors")) if file.is_dir() else [file]
        headers = (read_header(one).tensors.items() for one in inside)
        found[component] = Numbers.of(named for tensors in headers for named in tensors)
    return found


def _decoding(tensors: Mapping[str, TensorLike], pixels: int, each: int) -> int:
    widest = (tensor.shape[1] for key, tensor in tensors.items() if key.endswith(WIDEST_IN_DECODER))
    channels = next(widest, USUAL_CHANNELS)
    return LIVE_IN_DECODER * channels * pixels * each


def time_of(requests: Sequence[ImageRequest], key: str, numbers: int, device: str) -> Time:
    """By the rates that pictures of such a model had on this device, else by a guess.

    key: see `model_key`;  numbers: of the U-Net;  device: such as 'cpu' or 'cuda:0'.
    """
    total, places = 0.0, set[str]()
    for request in requests:
        for one in request.passes:
            rate = known_rate(key, (one.width, one.height))
            if rate is None:
                return Time(guess=sum(_guess(one, numbers, device) for one in requests))
            total += rate.seconds * one.steps
            places.add(rate.size)
    return Time(total, ", ".join(sorted(places)))


def _guess(request: ImageRequest, numbers: int, device: str) -> float:
    work = numbers * request.width * request.height
    each = SECONDS_OF_WORK.get(device.partition(":")[0], SECONDS_OF_WORK["cuda"])
    return request.steps * (SECONDS_OF_A_STEP + work * each)


def denoiser_numbers(family: Family, tensors: Mapping[str, TensorLike]) -> int:
    """How many numbers the U-Net has, by which models of one family are told apart."""
    return sum(prod(t.shape) for key, t in tensors.items() if family.component_of_key(key) == "unet")
