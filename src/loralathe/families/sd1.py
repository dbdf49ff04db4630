"""Stable Diffusion 1.x, with its inpainting and instruct-pix2pix variants."""

from __future__ import annotations

from loralathe.families.encoders import clip_layers
from loralathe.families.family import Component, Family
from loralathe.families.parts import VAE_PART, denoiser_part, in_unet
from loralathe.families.signatures import Signature
from loralathe.families.unet import UNet

SD1_UNET = UNet(attends=(True, True, True, False), labels=False)
NOT_SD1 = tuple(in_unet({"label_emb.0.0": 2, "input_blocks.1.0.time_stack.in_layers.0": 1}))

SD1 = Family(
    id="sd1",
    label="SD 1.5",
    denoiser=SD1_UNET,
    parts=(
        denoiser_part(SD1_UNET, "diffusers"),
        Component(
            id="te1",
            root="cond_stage_model.",
            prefix="cond_stage_model.transformer.",
            implied="text_model.",
            folder="text_encoder",
            layers=clip_layers,
            kohya=("lora_te_",),
        ),
        VAE_PART,
    ),
    signature=Signature(
        has=in_unet(
            {
                "input_blocks.0.0": 4,
                "input_blocks.1.1.proj_in": 4,
                "input_blocks.1.1.transformer_blocks.0.attn2.to_k": 2,
                "output_blocks.11.1.proj_out": 4,
            }
        ),
        lacks=NOT_SD1,
    ),
)
