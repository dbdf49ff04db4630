"""Z-Image's transformer, as diffusers' ZImageTransformer2DModel: text and picture in one row of tokens."""

from __future__ import annotations

import torch

from loralathe.families import Family
from loralathe.rendering.loading.denoisers import Network, Rows, Transformer
from loralathe.rendering.loading.shapes import Config, Layers, rope_axes

PATCH = 4
"""Latents in a patch of 2×2."""
LONGEST = (1536, 512, 512)
"""How far each axis of a place is worked out: text, rows, columns."""


class ZImage(Transformer):
    """See `Denoiser`."""

    class_name = "ZImageTransformer2DModel"

    def config(self, layers: Layers, family: Family) -> Config:
        assert family.pictures is not None
        width, patch = layers.shape("x_embedder.weight")
        (head,) = layers.shape("layers.0.attention.q_norm.weight")
        heads = width // head
        return {
            "in_channels": patch // PATCH,
            "dim": width,
            "n_layers": layers.count("layers."),
            "n_refiner_layers": layers.count("noise_refiner."),
            "n_heads": heads,
            "n_kv_heads": heads,
            "cap_feat_dim": layers.shape("cap_embedder.1.weight")[1],
            "axes_dims": list(rope_axes(family.pictures.axes, head)),
            "axes_lens": list(LONGEST),
        }

    def predict(self, network: Network, rows: Rows) -> torch.Tensor:
        """The network counts time from noise to picture, and predicts the flow that way."""
        time = (1 - rows.time).expand(len(rows.latents)).to(rows.latents.dtype)
        pictures = list(rows.latents.unsqueeze(2).unbind(0))
        (out,) = network(pictures, time, list(rows.context.unbind(0)), return_dict=False)
        return -torch.stack([one.squeeze(1) for one in out])
