"""Stable Diffusion 2.x: the U-Net of SD 1 with linear projections, OpenCLIP-H as text encoder."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from loralathe.families.components import Component, denoiser_component
from loralathe.families.encoders import open_clip_layers
from loralathe.families.family import Family, ShapeEvidence, register
from loralathe.families.loaders import UNET_LOADERS
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.pictures import Pictures, TextReading
from loralathe.families.recognition import DENOISER_PREFIX, Signature
from loralathe.families.sd1 import NOT_SD1, SD1_COLOURS, SD1_LEVELS, SD1_PRESETS, SD1_UNET
from loralathe.families.unet import ELEMENT_PRESETS, in_unet
from loralathe.families.vae import VAE

TELLTALE = f"{DENOISER_PREFIX}output_blocks.11.1.transformer_blocks.0.norm1.bias"
V_SPREAD = 0.09
"""Files carry no mark. The spread of this bias tells the two released models apart (ComfyUI's test);
averaging many models can shrink it below the limit, so a person can say which it is."""

SD2 = register(
    Family(
        id="sd2",
        label="SD 2",
        released="2022-11",
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
        evidence=ShapeEvidence(columns={".attn2.to_k": 1024}, axes={".proj_in": 2, ".proj_out": 2}),
        components=(
            denoiser_component(replace(SD1_UNET, linear_projections=True), "diffusers"),
            Component(
                id="te1",
                label="text encoder 1",
                root="cond_stage_model.",
                prefix="cond_stage_model.model.",
                folder="text_encoder",
                layers=partial(open_clip_layers, projection=False),
                kohya=("lora_te_", "lora_te1_"),
                comfyui="clip_h.transformer.",
                last_layer_unused=True,
                block="BASE",
            ),
            VAE,
        ),
        words=MetadataWords(
            epsilon=ModelName("sd_v2", "stable-diffusion-v2-512", "512x512"),
            v=ModelName("sd_v2_v", "stable-diffusion-v2-768-v", "768x768"),
            implementation="diffusers",
            v2=True,
        ),
        prediction=None,
        seldom=True,
        presets=SD1_PRESETS,
        element_presets=ELEMENT_PRESETS,
        colours=SD1_COLOURS,  # the latents are those of SD 1
        loaders=UNET_LOADERS,
        pictures=Pictures(
            side=512,
            tile=768,
            latent_scaling=0.18215,
            readings=(TextReading("te1", "open_clip", "zero", default_skip=2, final_norm=True, cut=1),),
            aligned=SD1_LEVELS,
            folder={"in_channels": 4, "use_linear_projection": True, "addition_embed_type": None},
            telltale=(TELLTALE, V_SPREAD),
        ),
    )
)
