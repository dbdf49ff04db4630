"""The network that pictures come from, a U-Net or a transformer: what is asked of its structure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

from loralathe.families.names import Layer


class Denoiser(Protocol):
    """Structure of a U-Net (`unet.py`) or of a transformer (`flux.py`); paths are relative to its prefix.

    kind:   what people call it;  entry: path of the layer that takes the image in
    inputs: number of its input channels → variant; other numbers are errors
    """

    @property
    def kind(self) -> str: ...
    @property
    def entry(self) -> str: ...
    @property
    def inputs(self) -> Mapping[int, str]: ...

    def layers(self) -> Iterator[Layer]: ...

    def missing(self, paths: Collection[str]) -> list[str]:
        """Tensors that no such network can be without and that are not among `paths`."""
        ...

    def variant(self, channels: int, paths: Collection[str]) -> str:
        """'base', 'inpainting', 'dev' …, as a file with these tensors is called."""
        ...

    def blocks(self) -> tuple[str, ...]:
        """The long block list in order, text encoders included."""
        ...

    def short_blocks(self) -> tuple[str, ...]:
        """The short list: the blocks that a linear-only LoRA can touch."""
        ...

    def block_of_path(self, path: str) -> str | None:
        """Block of a path, whether the lists have it or not; None for layers in no block."""
        ...
