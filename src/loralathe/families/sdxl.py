"""Stable Diffusion XL base and everything trained from it (Pony, Illustrious, NoobAI …)."""

from __future__ import annotations

from functools import partial

from loralathe.families.components import Component, denoiser_component
from loralathe.families.encoders import clip_layers, open_clip_layers
from loralathe.families.family import Family, ShapeEvidence, register
from loralathe.families.loaders import SDXL_LOADERS
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.pictures import Pictures, TextReading
from loralathe.families.recognition import Signature, UnreadFile
from loralathe.families.sd1 import SD1
from loralathe.families.unet import ELEMENT_PRESETS, UNet, in_unet
from loralathe.families.vae import VAE

SDXL_MODEL = ModelName("sdxl_base_v1-0", "stable-diffusion-xl-v1-base", "1024x1024")

SMALLER = "smaller models are not supported; use an SDXL model with all layers"
CUT_DOWN = {"label_emb.0.0": 2, "middle_block.0.in_layers.2": 4, "input_blocks.4.1.proj_in": 2}
NO_MIDDLE = {"middle_block.1.proj_in": 2, "middle_block.2.in_layers.2": 4}

SDXL = register(
    Family(
        id="sdxl",
        label="SDXL",
        released="2023-07",
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
        unread=(
            UnreadFile(
                "KOALA, an SDXL with one resnet in each level",
                SMALLER,
                Signature(
                    in_unet({"label_emb.0.0": 2, "input_blocks.3.1.proj_in": 2}),
                    lacks=tuple(in_unet({"input_blocks.4.1.proj_in": 2, "input_blocks.7.0.in_layers.2": 4})),
                ),
            ),
            UnreadFile(
                "Segmind Vega, an SDXL with fewer layers",
                SMALLER,
                Signature(
                    in_unet(CUT_DOWN),
                    lacks=tuple(
                        in_unet({**NO_MIDDLE, "input_blocks.4.1.transformer_blocks.1.attn1.to_q": 2})
                    ),
                ),
            ),
            UnreadFile(
                "SSD-1B, an SDXL with fewer layers",
                SMALLER,
                Signature(in_unet(CUT_DOWN), tuple(in_unet(NO_MIDDLE))),
            ),
        ),
        evidence=ShapeEvidence(columns={".attn2.to_k": 2048}, axes={".proj_in": 2, ".proj_out": 2}),
        components=(
            denoiser_component(
                UNet(attends=(False, True, True), labels=True, linear_projections=True), "original"
            ),
            Component(
                id="te1",
                label="text encoder 1",
                root="conditioner.embedders.0.",
                prefix="conditioner.embedders.0.transformer.",
                folder="text_encoder",
                layers=clip_layers,
                kohya=("lora_te1_",),
                comfyui="clip_l.transformer.",
                block="BASE",
            ),
            Component(
                id="te2",
                label="text encoder 2",
                root="conditioner.embedders.1.",
                prefix="conditioner.embedders.1.model.",
                folder="text_encoder_2",
                layers=partial(open_clip_layers, projection=True),
                kohya=("lora_te2_",),
                comfyui="clip_g.transformer.",
                block="BASE",
            ),
            VAE,
        ),
        words=MetadataWords(
            epsilon=SDXL_MODEL,
            v=SDXL_MODEL,
            implementation="https://github.com/Stability-AI/generative-models",
        ),
        marks={"edm_vpred.sigma_max": "edm-v", "v_pred": "v", "edm_mean": "edm"},
        presets={
            "INS": (("IN00", "IN05"),),
            "IND": (("IN06", "IN08"),),
            "INALL": (("IN00", "IN08"),),
            "MIDD": (("IN07", "OUT02"),),
            "OUTD": (("OUT00", "OUT02"),),
            "OUTS": (("OUT03", "OUT08"),),
            "OUTALL": (("OUT00", "OUT08"),),
        },
        element_presets=ELEMENT_PRESETS,
        also_accepts=(SD1.long_blocks,),  # lists of 26 circulate for SDXL too
        colours=((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (-1.0, -1.0, 0.0), (-1.0, 1.0, 0.0)),
        loaders=SDXL_LOADERS,
        pictures=Pictures(
            side=1024,
            tile=1024,
            latent_scaling=0.13025,
            readings=(
                TextReading("te1", "clip", "end", default_skip=2, final_norm=False),
                TextReading("te2", "open_clip", "zero", default_skip=2, final_norm=False, pooled=True),
            ),
            aligned=(14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
            folder={"in_channels": 4, "addition_embed_type": "text_time"},
            empty_is_zeros=True,
        ),
    )
)
