"""Stable Diffusion XL base and everything trained from it (Pony, Illustrious, NoobAI …)."""

from __future__ import annotations

from functools import partial

from loralathe.families.encoders import clip_layers, open_clip_layers
from loralathe.families.family import Component, Family
from loralathe.families.parts import VAE_PART, denoiser_part, in_unet
from loralathe.families.sd1 import SD1_UNET
from loralathe.families.signatures import Signature
from loralathe.families.unet import UNet

SDXL_UNET = UNet(attends=(False, True, True), labels=True)

SDXL = Family(
    id="sdxl",
    label="SDXL",
    denoiser=SDXL_UNET,
    parts=(
        denoiser_part(SDXL_UNET, "original"),
        Component(
            id="te1",
            root="conditioner.embedders.0.",
            prefix="conditioner.embedders.0.transformer.",
            folder="text_encoder",
            layers=clip_layers,
            kohya=("lora_te1_",),
        ),
        Component(
            id="te2",
            root="conditioner.embedders.1.",
            prefix="conditioner.embedders.1.model.",
            folder="text_encoder_2",
            layers=partial(open_clip_layers, projection=True),
            kohya=("lora_te2_",),
        ),
        VAE_PART,
    ),
    signature=Signature(
        has=in_unet(
            {
                "input_blocks.0.0": 4,
                "label_emb.0.0": 2,
                "input_blocks.4.1.transformer_blocks.0.attn2.to_k": 2,
                "input_blocks.8.1.proj_in": 2,
                "output_blocks.8.0.in_layers.2": 4,
            }
        ),
        lacks=tuple(in_unet({"input_blocks.9.0.op": 4, "input_blocks.1.1.proj_in": 2})),
    ),
    also_accepts=(SD1_UNET.blocks(),),  # lists of 26 circulate for SDXL too
    marks={"edm_vpred.sigma_max": "edm-v", "v_pred": "v", "edm_mean": "edm"},
)
