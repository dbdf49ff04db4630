"""How pictures of a family are made, as far as the weights and their shapes do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Padding = Literal["end", "zero"]
"""What follows the end token of a chunk: more end tokens (CLIP-L), or 0, which is "!" (OpenCLIP)."""


@dataclass(frozen=True, slots=True)
class TextReading:
    """How a family reads one of its text encoders.

    network:    which kind of network it is
    padding:    what follows the end token in a chunk
    default_skip: the hidden state that is read, counted from the end: 1 is the last
    cut:        layers at the end that nothing reads, left out when the encoder is loaded
    final_norm: whether the last layer norm follows the hidden state
    pooled:     whether its pooled output conditions the U-Net
    """

    component: str
    network: Literal["clip", "open_clip"]
    padding: Padding
    default_skip: int
    final_norm: bool
    cut: int = 0
    pooled: bool = False

    @property
    def class_name(self) -> str:
        """Of the network in transformers."""
        return "CLIPTextModelWithProjection" if self.pooled else "CLIPTextModel"


@dataclass(frozen=True, slots=True)
class Pictures:
    """What rendering must know of a family.

    side:           of a picture where the person names none;  tile: size the family was trained at
    latent_scaling: factor between the VAE's latents and the U-Net's
    heads:          attention heads at every level; None: one for each 64 channels
    readings:       its text encoders in order
    aligned:        optimised noise levels for 10 steps (Sabour et al. 2024, "Align Your Steps")
    empty_is_zeros: an empty negative prompt is read as zeros, as in training
    telltale:       (tensor, limit): v-prediction where the spread of its numbers is above the limit
    folder:         what unet/config.json of a diffusers folder says, None: nothing or false
    """

    side: int
    tile: int
    latent_scaling: float
    readings: tuple[TextReading, ...]
    aligned: tuple[float, ...]
    folder: Mapping[str, object]
    heads: int | None = None
    empty_is_zeros: bool = False
    telltale: tuple[str, float] | None = None
