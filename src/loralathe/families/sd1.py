"""Stable Diffusion 1.x, with its inpainting and instruct-pix2pix variants."""

from __future__ import annotations

from loralathe.families.components import Component, denoiser_component
from loralathe.families.encoders import clip_layers
from loralathe.families.family import Family, ShapeEvidence, register
from loralathe.families.loaders import UNET_LOADERS
from loralathe.families.metadata import MetadataWords, ModelName
from loralathe.families.pictures import Pictures, TextReading
from loralathe.families.recognition import KeyRule, Signature
from loralathe.families.unet import ELEMENT_PRESETS, UNet, in_unet
from loralathe.families.vae import VAE

SD1_UNET = UNet(attends=(True, True, True, False), labels=False, linear_projections=False)
NOT_SD1 = tuple(in_unet({"label_emb.0.0": 2, "input_blocks.1.0.time_stack.in_layers.0": 1}))
SD1_PRESETS = {
    "INS": (("IN00", "IN04"),),
    "IND": (("IN05", "IN11"),),
    "INALL": (("IN00", "IN11"),),
    "MIDD": (("IN05", "OUT06"),),
    "OUTD": (("OUT00", "OUT06"),),
    "OUTS": (("OUT07", "OUT11"),),
    "OUTALL": (("OUT00", "OUT11"),),
}
SD1_COLOURS = ((-1.0, 1 / 3, 2 / 3), (1.0, 1.0, 0.0), (0.0, -1.0, -1.0), (1.0, 0.0, 1.0))
SD1_LEVELS = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)

SD1 = register(
    Family(
        id="sd1",
        label="SD 1.5",
        released="2022-08",
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
        evidence=ShapeEvidence(columns={".attn2.to_k": 768}, axes={".proj_in": 4, ".proj_out": 4}),
        components=(
            denoiser_component(SD1_UNET, "diffusers"),
            Component(
                id="te1",
                label="text encoder 1",
                root="cond_stage_model.",
                prefix="cond_stage_model.transformer.",
                implied="text_model.",
                folder="text_encoder",
                layers=clip_layers,
                kohya=("lora_te_", "lora_te1_"),
                comfyui="clip_l.transformer.",
                block="BASE",
            ),
            VAE,
        ),
        words=MetadataWords(
            epsilon=ModelName("sd_v1", "stable-diffusion-v1", "512x512"),
            v=ModelName("sd_v1_v", "stable-diffusion-v1", "512x512"),
            implementation="diffusers",
        ),
        rules=(
            KeyRule(
                "CLIP-L projection, unused in pictures",
                r"cond_stage_model\.transformer\.text_projection\.weight",
                frozen=False,
            ),
        ),
        presets=SD1_PRESETS,
        element_presets=ELEMENT_PRESETS,
        colours=SD1_COLOURS,
        loaders=UNET_LOADERS,
        pictures=Pictures(
            side=512,
            tile=512,
            latent_scaling=0.18215,
            readings=(TextReading("te1", "clip", "end", default_skip=1, final_norm=True),),
            aligned=SD1_LEVELS,
            folder={"in_channels": 4, "use_linear_projection": None, "addition_embed_type": None},
            heads=8,
        ),
    )
)
