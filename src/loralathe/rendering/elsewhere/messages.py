"""What goes between this process and those that draw for it: objects, each behind its length.

Both ends are ours, and the pipes are inherited: nobody else can write into them.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Literal

from loralathe.errors import LatheError
from loralathe.progress import Event, Progress
from loralathe.rendering.loading import PartFiles
from loralathe.rendering.request import ImageRequest
from loralathe.rendering.runtime import Presets

if TYPE_CHECKING:
    from PIL.Image import Image

    from loralathe.rendering.local import LocalRenderer
    from loralathe.rendering.model_cache import WeightsInMemory

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class Opening:
    """What a `LocalRenderer` is made with, as data: the fields are its own, and it says what they mean."""

    device: str = "auto"
    dtype: Literal["fp32", "fp16", "bf16"] | None = None
    lora_dirs: tuple[str, ...] = ()
    batch_size: int | None = None
    low_vram: bool = False
    presets: Presets = field(default_factory=Presets)
    prediction: Literal["epsilon", "v_prediction"] | None = None
    allow_unmatched: bool = False
    hashes: bool = False
    files: PartFiles = field(default_factory=PartFiles)

    def __post_init__(self) -> None:
        one = self.presets  # tables that cannot be changed cannot be sent to another process either
        plain = Presets(dict(one.blocks), dict(one.elements), one.missing_blocks)
        object.__setattr__(self, "presets", plain)

    def renderer(
        self, weights: WeightsInMemory | None = None, progress: Progress | None = None
    ) -> LocalRenderer:
        from loralathe.rendering.local import LocalRenderer

        return LocalRenderer(
            self.device,
            self.dtype,
            self.lora_dirs,
            batch_size=self.batch_size,
            low_vram=self.low_vram,
            progress=progress,
            weights=weights,
            presets=self.presets,
            prediction=self.prediction,
            allow_unmatched=self.allow_unmatched,
            hashes=self.hashes,
            files=self.files,
        )


@dataclass(frozen=True)
class Open:
    """The first message: what the renderer is made with, and the folders that the process is kept to."""

    opening: Opening
    confined: tuple[Sequence[str], Sequence[str]] | None


@dataclass(frozen=True)
class Draw:
    """Requests to render; held: weights in memory → the file that holds them, and no others any more."""

    requests: Sequence[ImageRequest]
    held: Mapping[str, str]


@dataclass(frozen=True)
class Forget:
    """Let go of models."""


@dataclass(frozen=True)
class Picture:
    """A finished picture of the last `Draw`: RGB, 3 bytes a pixel; info: its infotext."""

    index: int
    size: tuple[int, int]
    pixels: bytes
    info: Mapping[str, str]


@dataclass(frozen=True)
class Happened:
    """An event of the renderer's progress."""

    event: Event


@dataclass(frozen=True)
class Ended:
    """The end of the last `Draw`; the error that ended it, or what an unexpected one said."""

    error: LatheError | None = None
    unexpected: str = ""


def send(stream: IO[bytes], message: object) -> None:
    """Write one object. Raises OSError or ValueError when the other end is gone."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def receive(stream: IO[bytes]) -> object:
    """The next object. Raises EOFError when the other end is gone."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)


def packed(index: int, image: Image) -> Picture:
    texts = {key: text for key, text in image.info.items() if isinstance(text, str)}
    info = {key: text for key, text in texts.items() if isinstance(key, str)}
    return Picture(index, image.size, image.convert("RGB").tobytes(), info)


def unpacked(picture: Picture) -> Image:
    from PIL import Image

    image = Image.frombytes("RGB", picture.size, picture.pixels)
    image.info.update(picture.info)
    return image
