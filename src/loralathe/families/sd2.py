"""Stable Diffusion 2.x: the U-Net of SD 1 with linear projections, OpenCLIP-H as text encoder."""

from __future__ import annotations

from functools import partial

from loralathe.families.encoders import open_clip_layers
from loralathe.families.family import Component, Family
from loralathe.families.parts import VAE_PART, denoiser_part, in_unet
from loralathe.families.sd1 import NOT_SD1, SD1_UNET
from loralathe.families.signatures import Signature

SD2 = Family(
    id="sd2",
    label="SD 2",
    denoiser=SD1_UNET,
    parts=(
        denoiser_part(SD1_UNET, "diffusers"),
        Component(
            id="te1",
            root="cond_stage_model.",
            prefix="cond_stage_model.model.",
            folder="text_encoder",
            layers=partial(open_clip_layers, projection=False),
            kohya=("lora_te_",),
            last_layer_unused=True,
        ),
        VAE_PART,
    ),
    signature=Signature(
        has=in_unet(
            {
                "input_blocks.0.0": 4,
                "input_blocks.1.1.proj_in": 2,
                "input_blocks.1.1.transformer_blocks.0.attn2.to_k": 2,
                "output_blocks.11.1.proj_out": 2,
            }
        ),
        lacks=NOT_SD1,
    ),
    default_prediction=None,
)
