"""The SDXL refiner: a U-Net of four levels, narrower than SDXL's; OpenCLIP-bigG is its only text encoder."""

from __future__ import annotations

from functools import partial

from loralathe.families.components import Component, denoiser_component
from loralathe.families.encoders import open_clip_layers
from loralathe.families.family import Family, ShapeEvidence, register
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.recognition import Signature
from loralathe.families.sd1 import SD1_PRESETS
from loralathe.families.sdxl import SDXL
from loralathe.families.unet import ELEMENT_PRESETS, UNet, in_unet
from loralathe.families.vae import VAE

REFINER_MODEL = ModelName("sdxl_refiner_v1-0", "stable-diffusion-xl-v1-refiner", "1024x1024")

SDXL_REFINER = register(
    Family(
        id="sdxl-refiner",
        label="SDXL refiner",
        released="2023-07",
        signature=Signature(
            has=in_unet(
                {
                    "input_blocks.0.0": 4,
                    "label_emb.0.0": 2,
                    "input_blocks.4.1.transformer_blocks.0.attn2.to_k": 2,
                    "input_blocks.9.0.op": 4,
                    "output_blocks.11.0.in_layers.2": 4,
                }
            ),
            lacks=tuple(in_unet({"input_blocks.1.1.proj_in": 2})),
        ),
        evidence=ShapeEvidence(columns={".attn2.to_k": 1280}, axes={".proj_in": 2, ".proj_out": 2}),
        components=(
            denoiser_component(
                UNet(attends=(False, True, True, False), labels=True, linear_projections=True), "original"
            ),
            Component(
                id="te2",
                label="text encoder 2",
                root="conditioner.embedders.0.",
                prefix="conditioner.embedders.0.model.",
                folder="text_encoder_2",
                layers=partial(open_clip_layers, projection=True),
                kohya=("lora_te2_", "lora_te_"),  # ComfyUI reads the second
                block="BASE",
            ),
            VAE,
        ),
        words=MetadataWords(
            epsilon=REFINER_MODEL,
            v=REFINER_MODEL,
            implementation="https://github.com/Stability-AI/generative-models",
        ),
        seldom=True,
        presets=SD1_PRESETS,
        element_presets=ELEMENT_PRESETS,
        colours=SDXL.colours,  # the latents are those of SDXL
    )
)
