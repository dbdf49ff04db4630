"""Flux.2's transformer, as diffusers' Flux2Transformer2DModel: its latents are patches of 16×16 pixels."""

from __future__ import annotations

import torch

from loralathe.families import Family
from loralathe.rendering.loading.denoisers import Network, Rows, by_names, from_pretrained
from loralathe.rendering.loading.shapes import Config, Layers, rope_axes
from loralathe.rendering.loading.weights import Weights
from loralathe.rendering.machine import library

PATCH_SIDE = 16
"""Pixels of a patch, each way."""


class Flux2:
    """See `Denoiser`."""

    def build(self, weights: Weights, family: Family, dtype: torch.dtype) -> Network:
        config = flux2_config(Layers.of(weights.tensors, family), family)
        make = library("diffusers").Flux2Transformer2DModel
        return by_names(weights, family, lambda: make(**config), dtype)

    def open_folder(self, folder: str, dtype: torch.dtype) -> Network:
        return from_pretrained("Flux2Transformer2DModel", folder, dtype)

    def latent_shape(self, network: Network, width: int, height: int) -> tuple[int, int, int]:
        return int(network.config["in_channels"]), height // PATCH_SIDE, width // PATCH_SIDE

    def predict(self, network: Network, rows: Rows) -> torch.Tensor:
        height, width = rows.latents.shape[-2:]
        device = rows.latents.device
        text, patches = torch.arange(rows.context.shape[1]), torch.arange(1)
        (out,) = network(
            hidden_states=rows.latents.flatten(2).transpose(1, 2),
            timestep=rows.time.expand(len(rows.latents)),
            guidance=rows.guidance,
            encoder_hidden_states=rows.context,
            txt_ids=torch.cartesian_prod(patches, patches, patches, text).to(device),
            img_ids=torch.cartesian_prod(patches, torch.arange(height), torch.arange(width), patches).to(
                device
            ),
            return_dict=False,
        )
        found: torch.Tensor = out
        return found.transpose(1, 2).reshape(len(found), -1, height, width)


def flux2_config(layers: Layers, family: Family) -> Config:
    """Arguments of diffusers' Flux2Transformer2DModel."""
    assert family.pictures is not None
    width, channels = layers.shape("img_in.weight")
    (head,) = layers.shape("double_blocks.0.img_attn.norm.query_norm.weight")
    return {
        "in_channels": channels,
        "num_layers": layers.count("double_blocks."),
        "num_single_layers": layers.count("single_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": layers.shape("txt_in.weight")[1],
        "mlp_ratio": layers.shape("double_blocks.0.img_mlp.2.weight")[1] / width,
        "guidance_embeds": layers.has("guidance_in.in_layer.weight"),
        "axes_dims_rope": rope_axes(family.pictures.axes, head),
    }
