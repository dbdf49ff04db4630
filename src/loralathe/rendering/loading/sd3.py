"""SD 3's transformer, as diffusers' SD3Transformer2DModel: places are a table that the file holds."""

from __future__ import annotations

from math import isqrt

import torch

from loralathe.errors import InputError
from loralathe.families import Family
from loralathe.rendering.loading.denoisers import Network, Rows, Transformer
from loralathe.rendering.loading.shapes import HEAD_WIDTH, Config, Layers
from loralathe.rendering.loading.weights import Weights

TIMES = 1000
"""Training steps: the network counts its noise level in them."""
BLOCK = "joint_blocks"
FIRST = f"{BLOCK}.0.x_block.attn.ln_q.weight"


class SD3(Transformer):
    """See `Denoiser`."""

    class_name = "SD3Transformer2DModel"

    def build(self, weights: Weights, family: Family, dtype: torch.dtype) -> Network:
        blocks = Layers.of(weights.tensors, family).count(f"{BLOCK}.")
        usual = len(family.denoiser.short_blocks())
        if blocks != usual:  # only its last block has a modulation of two parts, whose halves change places
            raise InputError(
                f"this {family.label} model has {blocks} blocks, not {usual}",
                where=weights.name,
                fix="it is a changed model, which cannot be rendered here",
            )
        return super().build(weights, family, dtype)

    def config(self, layers: Layers, family: Family) -> Config:
        width, channels, patch, _ = layers.shape("x_embedder.proj.weight")
        normed = layers.has(FIRST)
        head = layers.shape(FIRST)[0] if normed else HEAD_WIDTH
        count = layers.count(f"{BLOCK}.")
        return {
            "sample_size": 128,
            "patch_size": patch,
            "in_channels": channels,
            "out_channels": layers.shape("final_layer.linear.weight")[0] // patch**2,
            "num_layers": count,
            "attention_head_dim": head,
            "num_attention_heads": width // head,
            "joint_attention_dim": layers.shape("context_embedder.weight")[1],
            "caption_projection_dim": width,
            "pooled_projection_dim": layers.shape("y_embedder.mlp.0.weight")[1],
            "pos_embed_max_size": isqrt(layers.shape("pos_embed")[1]),
            "qk_norm": "rms_norm" if normed else None,
            "dual_attention_layers": tuple(
                number for number in range(count) if layers.has(f"{BLOCK}.{number}.x_block.attn2.qkv.weight")
            ),
        }

    def latent_shape(self, network: Network, width: int, height: int) -> tuple[int, int, int]:
        largest = int(network.config["pos_embed_max_size"]) * int(network.config["patch_size"]) * self.side
        if max(width, height) > largest:
            raise InputError(
                f"this model draws pictures of up to {largest}×{largest} pixels",
                fix="make it smaller",
                about="size",
            )
        return super().latent_shape(network, width, height)

    def predict(self, network: Network, rows: Rows) -> torch.Tensor:
        (out,) = network(
            hidden_states=rows.latents,
            timestep=(rows.time * TIMES).expand(len(rows.latents)),
            encoder_hidden_states=rows.context,
            pooled_projections=rows.pooled,
            return_dict=False,
        )
        found: torch.Tensor = out
        return found
