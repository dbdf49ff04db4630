"""The VAE of Wan 2.1, which Qwen-Image, Krea 2 and Anima use: its own names and diffusers' names."""

from __future__ import annotations

from collections.abc import Iterator

from loralathe.families.components import Component
from loralathe.families.layers import Layer, layer, parameter

RESNET = (("residual.0", "norm1"), ("residual.2", "conv1"), ("residual.3", "norm2"), ("residual.6", "conv2"))
LEVELS, RESNETS = 4, 3
"""Of the decoder: each level has resnets and, but for the last, an upsampler; all are numbered in one row."""


def wan_vae_layers() -> Iterator[Layer]:
    """All layers. Norms are one tensor, `gamma`."""
    yield layer("conv1", "quant_conv")
    yield layer("conv2", "post_quant_conv")
    for half in ("encoder", "decoder"):
        yield layer(f"{half}.conv1", f"{half}.conv_in")
        yield _norm(f"{half}.head.0", f"{half}.norm_out")
        yield layer(f"{half}.head.2", f"{half}.conv_out")
        for number in (0, 1):
            yield from _resnet(f"{half}.middle.{2 * number}", f"{half}.mid_block.resnets.{number}")
        original, diffusers = f"{half}.middle.1", f"{half}.mid_block.attentions.0"
        yield _norm(f"{original}.norm", f"{diffusers}.norm")
        yield layer(f"{original}.to_qkv", f"{diffusers}.to_qkv")
        yield layer(f"{original}.proj", f"{diffusers}.proj")
    row, blocks = "encoder.downsamples.#", "encoder.down_blocks.#"  # each number is the one or the other
    yield from _resnet(row, blocks)
    yield from _sampler(row, blocks)
    for level in range(LEVELS):
        block, first = f"decoder.up_blocks.{level}", (RESNETS + 1) * level
        for number in range(RESNETS):
            yield from _resnet(f"decoder.upsamples.{first + number}", f"{block}.resnets.{number}")
        yield from _sampler(f"decoder.upsamples.{first + RESNETS}", f"{block}.upsamplers.0")


def _sampler(original: str, diffusers: str) -> Iterator[Layer]:
    for name in ("resample.1", "time_conv"):
        yield layer(f"{original}.{name}", f"{diffusers}.{name}")


def _resnet(original: str, diffusers: str) -> Iterator[Layer]:
    for name, renamed in RESNET:
        make = _norm if renamed.startswith("norm") else layer
        yield make(f"{original}.{name}", f"{diffusers}.{renamed}")
    yield layer(f"{original}.shortcut", f"{diffusers}.conv_shortcut")


def _norm(original: str, diffusers: str) -> Layer:
    return parameter(f"{original}.gamma", f"{diffusers}.gamma", "vector")


WAN_VAE = Component(id="vae", label="VAE", root="vae.", prefix="vae.", folder="vae", layers=wan_vae_layers)
