"""Flux.1's transformer, as diffusers' FluxTransformer2DModel: latents in patches of 2×2."""

from __future__ import annotations

import torch

from loralathe.families import Family
from loralathe.rendering.loading.denoisers import Network, Rows, Transformer, from_patches, patches
from loralathe.rendering.loading.shapes import Config, Layers, rope_axes


class Flux(Transformer):
    """See `Denoiser`."""

    class_name = "FluxTransformer2DModel"
    channels = 4

    def config(self, layers: Layers, family: Family) -> Config:
        return {
            **two_streams(layers, family, "scale"),
            "pooled_projection_dim": layers.shape("vector_in.in_layer.weight")[1],
        }

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


def two_streams(layers: Layers, family: Family, norm: str) -> Config:
    """What Flux.1 and Flux.2 have in common. norm: how the norms of q and k end."""
    assert family.pictures is not None
    width, channels = layers.shape("img_in.weight")
    (head,) = layers.shape(f"double_blocks.0.img_attn.norm.query_norm.{norm}")
    return {
        "in_channels": channels,
        "num_layers": layers.count("double_blocks."),
        "num_single_layers": layers.count("single_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": layers.shape("txt_in.weight")[1],
        "guidance_embeds": layers.has("guidance_in.in_layer.weight"),
        "axes_dims_rope": rope_axes(family.pictures.axes, head),
    }
