"""The four-level VAE of SD 1, SD 2 and SDXL in the original and in the diffusers layout."""

from __future__ import annotations

from collections.abc import Iterator

from loralathe.families.names import Layer, layer

LEVELS = 4
RESNET = (
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("nin_shortcut", "conv_shortcut"),
)
ATTENTION = (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0"))


def vae_layers() -> Iterator[Layer]:
    """All layers; the decoder's levels count from the finest here, from the coarsest in diffusers."""
    yield layer("quant_conv")
    yield layer("post_quant_conv")
    for half in ("encoder", "decoder"):
        yield layer(f"{half}.conv_in")
        yield layer(f"{half}.conv_out")
        yield layer(f"{half}.norm_out", f"{half}.conv_norm_out")
        yield from _middle(half)
    for level in range(LEVELS):
        yield from _resnets(f"encoder.down.{level}.block.#", f"encoder.down_blocks.{level}.resnets.#")
        yield from _resnets(f"decoder.up.{level}.block.#", f"decoder.up_blocks.{_mirror(level)}.resnets.#")
    for level in range(LEVELS - 1):  # the encoder's last and the decoder's finest level keep their size
        down, up = f"encoder.down.{level}.downsample.conv", f"decoder.up.{level + 1}.upsample.conv"
        yield layer(down, f"encoder.down_blocks.{level}.downsamplers.0.conv")
        yield layer(up, f"decoder.up_blocks.{_mirror(level + 1)}.upsamplers.0.conv")


def _mirror(level: int) -> int:
    return LEVELS - 1 - level


def _middle(half: str) -> Iterator[Layer]:
    for i in (0, 1):
        yield from _resnets(f"{half}.mid.block_{i + 1}", f"{half}.mid_block.resnets.{i}")
    original, diffusers = f"{half}.mid.attn_1", f"{half}.mid_block.attentions.0"
    yield layer(f"{original}.norm", f"{diffusers}.group_norm")
    for name, renamed in ATTENTION:
        yield layer(f"{original}.{name}", f"{diffusers}.{renamed}", transform="conv1x1_to_linear")


def _resnets(original: str, diffusers: str) -> Iterator[Layer]:
    for name, renamed in RESNET:
        yield layer(f"{original}.{name}", f"{diffusers}.{renamed}")
