"""Flux.2's transformer, as diffusers' Flux2Transformer2DModel: its latents are patches of 16×16 pixels."""

from __future__ import annotations

import torch

from loralathe.families import Family
from loralathe.rendering.loading.denoisers import Network, Rows, Transformer
from loralathe.rendering.loading.flux import two_streams
from loralathe.rendering.loading.shapes import Config, Layers


class Flux2(Transformer):
    """See `Denoiser`."""

    class_name = "Flux2Transformer2DModel"
    side = 16

    def config(self, layers: Layers, family: Family) -> Config:
        mlp, width = layers.shape("double_blocks.0.img_mlp.2.weight")[1], layers.shape("img_in.weight")[0]
        return {**two_streams(layers, family, "weight"), "mlp_ratio": mlp / width}

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
