"""How pictures of a family are made, as far as the weights and their shapes do not tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Padding = Literal["end", "zero"]
"""What follows the end token of a chunk: more end tokens (CLIP-L), or 0, which is "!" (OpenCLIP)."""
EncoderKind = Literal["clip", "clip_g", "open_clip", "t5", "qwen3"]
"""CLIP-G is OpenCLIP under transformers' names."""
DenoiserKind = Literal["unet", "flux", "flux2", "sd3", "zimage"]
MANY_PATCHES = 4300
"""Of Flux.2, from which on steps do not count."""
Shift = Callable[[int, int], float]
"""(patches of the picture, steps) → how far noise levels are moved up; see `moved`."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """How a language model gets its text: through a tokenizer that the person's files hold.

    most: the text is cut behind so many tokens;  end, pad: tokens as the tokenizer spells them
    comfyui: the folder where ComfyUI has the tokenizer
    template: what is put around a text, which stands at {}
    padded:   pad tokens up to the most are part of what is read
    """

    most: int
    pad: str
    end: str = ""
    comfyui: str = ""
    template: str = "{}"
    padded: bool = True


@dataclass(frozen=True, slots=True)
class TextReading:
    """How a family reads one of its text encoders.

    network:    which kind of network it is
    padding:    what follows the end token in a chunk of CLIP's
    default_skip: the hidden state that is read, counted from the end: 1 is the last
    cut:        layers at the end that nothing reads, left out when the encoder is loaded
    final_norm: whether the last layer norm follows the hidden state
    pooled:     whether its pooled output conditions the network;  context: whether its hidden states do
    states:     hidden states that stand side by side, counted from the first, in place of one
    tokens:     of a language model
    depth:      its usual layers, by which files of two encoders of one kind are told apart
    file:       what its file is mostly called
    optional:   it may be left out: zeros stand in place of what it says
    """

    component: str
    network: EncoderKind
    padding: Padding = "end"
    default_skip: int = 1
    final_norm: bool = True
    cut: int = 0
    pooled: bool = False
    context: bool = True
    projected: bool = True
    states: tuple[int, ...] = ()
    tokens: Tokens | None = None
    depth: int = 0
    file: str = ""
    optional: bool = False

    @property
    def class_name(self) -> str:
        """Of the network in transformers."""
        models = {"t5": "T5EncoderModel", "qwen3": "Qwen3Model"}
        if self.network in models:
            return models[self.network]
        return "CLIPTextModelWithProjection" if self.pooled and self.projected else "CLIPTextModel"


@dataclass(frozen=True, slots=True)
class Usual:
    """What a picture is made with where the person says nothing.

    guidance: that the network was distilled with and takes as a number; None: it takes none
    shift:    of the noise levels of a model that predicts flow
    lowest:   the last step starts at the lowest noise level of training, as in diffusers; else all are equal
    """

    steps: int = 20
    cfg: float = 7.0
    sampler: str = "DPM++ 2M"
    guidance: float | None = None
    shift: Shift | None = None
    lowest: bool = False


@dataclass(frozen=True, slots=True)
class Pictures:
    """What rendering must know of a family.

    side:           of a picture where the person names none;  tile: size the family was trained at
    latent_scaling: factor between the VAE's latents and the network's;  latent_shift: taken off before.
                    A VAE that holds statistics of its latents needs neither
    readings:       its text encoders in order
    folder:         what the configuration of the U-Net or transformer in a diffusers folder says, None:
                    nothing or false
    network:        the kind of its U-Net or transformer
    variants:       those that are drawn, and how
    vae_file:       what a file of its VAE is mostly called
    multiple:       sides of pictures are multiples of it
    half:           the half precision that it is computed in on a GPU
    axes:           channels of a transformer's head that turn with each axis of a place
    heads:          attention heads at every level of a U-Net; None: one for each 64 channels
    aligned:        optimised noise levels for 10 steps (Sabour et al. 2024, "Align Your Steps")
    empty_is_zeros: an empty negative prompt is read as zeros, as in training
    telltale:       (tensor, limit): v-prediction where the spread of its numbers is above the limit
    """

    side: int
    tile: int
    latent_scaling: float
    readings: tuple[TextReading, ...]
    folder: Mapping[str, object]
    aligned: tuple[float, ...] = ()
    network: DenoiserKind = "unet"
    variants: Mapping[str, Usual] = field(default_factory=lambda: {"base": Usual()})
    latent_shift: float = 0.0
    vae_file: str = "vae.safetensors"
    multiple: int = 8
    half: Literal["fp16", "bf16"] = "fp16"
    axes: tuple[int, ...] = ()
    heads: int | None = None
    empty_is_zeros: bool = False
    telltale: tuple[str, float] | None = None

    @property
    def flow(self) -> bool:
        """Whether its models predict flow: noise minus picture, along a straight line between them."""
        return any(usual.shift is not None for usual in self.variants.values())


def always(shift: float) -> Shift:
    """The same for every picture."""
    return lambda patches, steps: shift


def by_patches(low: tuple[int, float], high: tuple[int, float]) -> Shift:
    """e^μ, μ on the line through two points (patches, μ)."""
    slope = (high[1] - low[1]) / (high[0] - low[0])
    return lambda patches, steps: math.exp(low[1] + slope * (patches - low[0]))


def by_patches_and_steps(patches: int, steps: int) -> float:
    """That of Flux.2: e^μ, μ by patches on one line for 10 steps, on another for 200, and between them."""
    many = 0.00016927 * patches + 0.45666666
    if patches > MANY_PATCHES:
        return math.exp(many)
    few = 8.73809524e-05 * patches + 1.89833333
    return math.exp(few + (many - few) * (steps - 10) / 190)


def moved(level: float, shift: float) -> float:
    """A noise level 0 … 1, moved up: more steps where there is much noise."""
    return shift * level / (1 + (shift - 1) * level)
