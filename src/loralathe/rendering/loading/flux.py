"""Flux.1's transformer, as diffusers' FluxTransformer2DModel: latents in patches of 2×2."""

from __future__ import annotations

import torch

from loralathe.families import Family
from loralathe.rendering.loading.denoisers import (
    Network,
    Rows,
    by_names,
    from_patches,
    from_pretrained,
    patches,
)
from loralathe.rendering.loading.shapes import Config, Layers, rope_axes
from loralathe.rendering.loading.weights import Weights
from loralathe.rendering.machine import library

LATENT_SCALE = 8
"""Pixels per latent, each way."""


class Flux:
    """See `Denoiser`."""

    def build(self, weights: Weights, family: Family, dtype: torch.dtype) -> Network:
        config = flux_config(Layers.of(weights.tensors, family), family)
        make = library("diffusers").FluxTransformer2DModel
        return by_names(weights, family, lambda: make(**config), dtype)

    def open_folder(self, folder: str, dtype: torch.dtype) -> Network:
        return from_pretrained("FluxTransformer2DModel", folder, dtype)

    def latent_shape(self, network: Network, width: int, height: int) -> tuple[int, int, int]:
        return int(network.config["in_channels"]) // 4, height // LATENT_SCALE, width // LATENT_SCALE

    def predict(self, network: Network, rows: Rows) -> torch.Tensor:
        height, width = rows.latents.shape[-2:]
        device = rows.latents.device
        (out,) = network(
            hidden_states=patches(rows.latents),
            timestep=rows.time.expand(len(rows.latents)),
            guidance=rows.guidance,
            pooled_projections=rows.pooled,
            encoder_hidden_states=rows.context,
            txt_ids=torch.zeros(rows.context.shape[1], 3, device=device),
            img_ids=places(height // 2, width // 2).to(device),
            return_dict=False,
        )
        return from_patches(out, height, width)


def places(height: int, width: int) -> torch.Tensor:
    """(height · width, 3): 0, row and column of every patch."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()


def flux_config(layers: Layers, family: Family) -> Config:
    """Arguments of diffusers' FluxTransformer2DModel."""
    assert family.pictures is not None
    width, channels = layers.shape("img_in.weight")
    (head,) = layers.shape("double_blocks.0.img_attn.norm.query_norm.scale")
    return {
        "in_channels": channels,
        "num_layers": layers.count("double_blocks."),
        "num_single_layers": layers.count("single_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": layers.shape("txt_in.weight")[1],
        "pooled_projection_dim": layers.shape("vector_in.in_layer.weight")[1],
        "guidance_embeds": layers.has("guidance_in.in_layer.weight"),
        "axes_dims_rope": rope_axes(family.pictures.axes, head),
    }
