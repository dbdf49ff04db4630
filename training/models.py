"""diffusers' networks with the types that strict checking needs (its own classes are untyped)."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.upsampling import Upsample2D
from torch import nn

SCALING = 0.13025  # what loaders multiply SDXL latents with
SIZE_IDS = 6
TIME_WIDTH = 256  # SDXL's width of each of the six sizes


class Posterior(Protocol):
    """A diagonal Gaussian over latents."""

    mean: torch.Tensor


class Encoding(Protocol):
    """What `encode` returns."""

    latent_dist: Posterior


class Decoding(Protocol):
    """What `decode` returns."""

    sample: torch.Tensor


class BiasedConv(nn.Conv2d):
    """A convolution that has a bias."""

    bias: nn.Parameter


class Vae(nn.Module):
    """The names of AutoencoderKL that are used here."""

    encoder: nn.Module
    decoder: nn.Module
    quant_conv: BiasedConv
    post_quant_conv: BiasedConv

    def encode(self, images: torch.Tensor) -> Encoding:
        """(n, 3, h, w) in -1..1 to a Gaussian over (n, 4, h / 8, w / 8)."""
        raise NotImplementedError

    def decode(self, latents: torch.Tensor) -> Decoding:
        """The way back."""
        raise NotImplementedError


def build_vae(widths: tuple[int, ...], groups: int) -> Vae:
    """An untrained autoencoder, one residual layer per level."""
    make: type[nn.Module] = cast("type[nn.Module]", AutoencoderKL)
    return cast(
        "Vae",
        make(
            block_out_channels=widths,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=groups,
            latent_channels=4,
            sample_size=128,
            scaling_factor=SCALING,
        ),
    )


def build_unet(widths: tuple[int, int, int], context: int, pooled: int) -> nn.Module:
    """SDXL's U-Net in small: three levels of two layers, transformers on the lower two, heads of 64.

    Called as unet(latents, timesteps, context, added_cond_kwargs={"text_embeds", "time_ids"})[0].
    """
    make: type[nn.Module] = cast("type[nn.Module]", UNet2DConditionModel)
    return make(
        sample_size=16,
        block_out_channels=widths,
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=1,
        attention_head_dim=tuple(width // 64 for width in widths),  # diffusers' misnamed number of heads
        use_linear_projection=True,
        cross_attention_dim=context,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=SIZE_IDS * TIME_WIDTH + pooled,
    )


def to_channels_last(model: nn.Module) -> None:
    """Kernels in the memory order that CPUs convolve fastest, in place."""
    for p in model.parameters():
        if p.ndim == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)


def upsample_by_repeating(model: nn.Module) -> None:
    """Doubles pixels by repetition instead of `interpolate` in every upsampler of `model`; the same function.

    torch.compile (2.13, CPU, channels-last) gives a zero gradient for nearest-neighbour interpolation.
    """
    for upsampler in model.modules():
        if isinstance(upsampler, Upsample2D):
            upsampler.interpolate = False
            cast("nn.Module", upsampler.conv).register_forward_pre_hook(_double)


def _double(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    (x,) = inputs
    n, c, h, w = x.shape
    return x[:, :, :, None, :, None].expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)
