"""The four-level VAE of SD 1, SD 2, SDXL and Flux: original and diffusers names, and the VAE of any file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from loralathe.families.components import Component, Piece
from loralathe.families.layers import Layer, layer

LEVELS = 4
RESNET = (
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("nin_shortcut", "conv_shortcut"),
)
PREFIXES = ("first_stage_model.", "vae.", "")
"""Where a VAE stands: in a checkpoint, in a diffusers model in one file, alone."""
DIFFUSERS_MARK = "decoder.mid_block."
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of diffusers before 0.18 for the VAE's attention."""
NO_WEIGHTS = ("loss", "model_ema.")
"""What training leaves in VAE files; as web UIs skip it."""
ATTENTION = (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0"))

RENAMED = {
    f".mid.attn_1.{other}.": f".mid.attn_1.{name}."
    for name, today in ATTENTION
    for other in (today, *(old for old, new in OLD_ATTENTION.items() if new == today))
} | {"encoder.quant_conv.": "quant_conv.", "decoder.post_quant_conv.": "post_quant_conv."}
"""Some trainers write diffusers' names for the attention into a VAE of the original layout. The VAE of Flux.2
was released with two layers inside its halves."""


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
        mirrored = LEVELS - 1 - level
        yield from _resnets(f"decoder.up.{level}.block.#", f"decoder.up_blocks.{mirrored}.resnets.#")
    for level in range(LEVELS - 1):  # the encoder's last and the decoder's finest level keep their size
        down, up = f"encoder.down.{level}.downsample.conv", f"decoder.up.{level + 1}.upsample.conv"
        yield layer(down, f"encoder.down_blocks.{level}.downsamplers.0.conv")
        yield layer(up, f"decoder.up_blocks.{LEVELS - 2 - level}.upsamplers.0.conv")


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


def vae_component(prefix: str) -> Component:
    return Component(
        id="vae",
        label="VAE",
        root=prefix,
        prefix=prefix,
        folder="vae",
        layers=vae_layers,
        renamed=RENAMED,
    )


VAE = vae_component("first_stage_model.")


def vae_keys(vae: Component, keys: Iterable[str]) -> dict[str, str]:
    """Checkpoint key of each VAE tensor → its key in a file with these keys; empty when it has no VAE.

    The file is a VAE alone or a whole model, in the original or the diffusers layout.
    """
    keys = list(keys)
    for prefix in PREFIXES:
        own = [
            key for key in keys if key.startswith(prefix) and not key[len(prefix) :].startswith(NO_WEIGHTS)
        ]
        diffusers = any(key.startswith(prefix + DIFFUSERS_MARK) for key in own)
        found = {_original(vae, key[len(prefix) :], diffusers): key for key in own}
        found.pop(None, None)
        if found:
            return {key: name for key, name in found.items() if key is not None}
    return {}


def _original(vae: Component, name: str, diffusers: bool) -> str | None:
    """The checkpoint key of a VAE's tensor; None for what no VAE has."""
    if not diffusers:
        key = vae.modern_key(vae.prefix + name)
        return key if vae.tensor(key) else None
    piece = piece_of_vae(vae, name)
    return piece.key if piece else None


def piece_of_vae(vae: Component, name: str) -> Piece | None:
    """`Component.piece_of_diffusers`, for names of old versions of diffusers, too."""
    path, _, role = name.rpartition(".")
    stem, _, last = path.rpartition(".")
    return vae.piece_of_diffusers(f"{stem}.{OLD_ATTENTION.get(last, last)}.{role}" if stem else name)
