"""U-Nets: SD 1, SD 2 and SDXL, as diffusers' UNet2DConditionModel."""

from __future__ import annotations

from typing import Any

import torch

from loralathe.families import Family
from loralathe.rendering.loading import shapes
from loralathe.rendering.loading.denoisers import Network, Rows, from_pretrained
from loralathe.rendering.loading.networks import load_unet
from loralathe.rendering.loading.weights import Weights

LATENT_SCALE = 8
"""Pixels per latent, each way."""


class UNet:
    """See `Denoiser`."""

    def build(self, weights: Weights, family: Family, dtype: torch.dtype) -> Network:
        assert family.pictures is not None
        config = shapes.unet_config(weights.tensors, heads=family.pictures.heads)
        widths = [
            shapes.pooled_width(weights.tensors, family.component(reading.component).prefix)
            for reading in family.pictures.readings
            if reading.pooled
        ]
        if widths:
            config = shapes.with_time_width(config, widths[0])
        return load_unet(weights, config, dtype)

    def open_folder(self, folder: str, dtype: torch.dtype) -> Network:
        return from_pretrained("UNet2DConditionModel", folder, dtype)

    def latent_shape(self, network: Network, width: int, height: int) -> tuple[int, int, int]:
        return int(network.config["in_channels"]), height // LATENT_SCALE, width // LATENT_SCALE

    def predict(self, network: Network, rows: Rows) -> torch.Tensor:
        more: dict[str, Any] = {}
        if rows.pooled is not None:
            width, height = rows.size
            ids = [height, width, 0, 0, height, width]  # original size, crop, target size
            times = torch.tensor([ids] * len(rows.latents), device=rows.latents.device, dtype=torch.float32)
            more["added_cond_kwargs"] = {"text_embeds": rows.pooled, "time_ids": times}
        (out,) = network(
            rows.latents, rows.time, encoder_hidden_states=rows.context, return_dict=False, **more
        )
        found: torch.Tensor = out
        return found
