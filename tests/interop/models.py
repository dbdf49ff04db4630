"""diffusers and transformers models for a checkpoint's shapes: no hub, no configuration files.

Sizes are read off the checkpoint, as its loaders do; what shapes do not tell (heads, groups) does not change
which weight goes where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from torch.nn import Module

State = Mapping[str, Tensor]
UNET = "model.diffusion_model."
CLIP = {"sd1": "cond_stage_model.transformer.", "sdxl": "conditioner.embedders.0.transformer."}
OPENCLIP = "conditioner.embedders.1.model."
GROUPS = 2
"""Narrow layers have few channels: real models have 32 groups."""


@dataclass(frozen=True)
class Models:
    """The parts of a pipeline, in fp32; te2 only for SDXL."""

    unet: Module
    vae: Module
    te1: Module
    te2: Module | None

    def state(self) -> dict[str, Tensor]:
        """All weights, named by part; position buffers are no weights."""
        parts = {"unet": self.unet, "vae": self.vae, "te1": self.te1, "te2": self.te2}
        return {
            f"{part}.{name}": tensor
            for part, model in parts.items()
            if model is not None
            for name, tensor in model.state_dict().items()
            if not name.endswith("position_ids")
        }


def load_models(family: str, checkpoint: State) -> Models:
    """diffusers' own single-file conversion into models of the checkpoint's shapes, strictly."""
    state = {
        key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in checkpoint.items()
    }
    return Models(
        _unet(family, state),
        _vae(state),
        _clip(family, state),
        _openclip(state) if family == "sdxl" else None,
    )


def unet_config(family: str, state: State) -> dict[str, Any]:
    """Configuration of a UNet2DConditionModel for SD 1.5 or SDXL at any width."""
    start = state[UNET + "input_blocks.0.0.weight"]
    base, channels = start.shape[0], start.shape[1]
    attention = UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    common: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": state[UNET + "out.2.weight"].shape[0],
        "layers_per_block": 2,
        "cross_attention_dim": state[attention].shape[1],
        "norm_num_groups": GROUPS,
        "attention_head_dim": 2,
    }
    if family == "sd1":
        return common | {
            "block_out_channels": (base, 2 * base, 4 * base, 4 * base),
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        }
    label = state[UNET + "label_emb.0.0.weight"].shape[1]
    pooled = state[OPENCLIP + "text_projection"].shape[1]
    return common | {
        "block_out_channels": (base, 2 * base, 4 * base),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": [1, 2, 10],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (label - pooled) // 6,
        "projection_class_embeddings_input_dim": label,
    }


def vae_config(state: State) -> dict[str, Any]:
    base = state["first_stage_model.encoder.conv_in.weight"].shape[0]
    return {
        "block_out_channels": (base, 2 * base, 4 * base, 4 * base),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": state["first_stage_model.decoder.conv_in.weight"].shape[1],
        "norm_num_groups": GROUPS,
    }


def _unet(family: str, state: State) -> Module:
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    config = unet_config(family, state)
    model = UNet2DConditionModel(**config)
    model.load_state_dict(convert_ldm_unet_checkpoint(dict(state), dict(model.config)), strict=True)
    return model


def _vae(state: State) -> Module:
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    model = AutoencoderKL(**vae_config(state))
    model.load_state_dict(convert_ldm_vae_checkpoint(dict(state), dict(model.config)), strict=True)
    return model


def _text_config(width: int, layers: int, state: State, tokens: str, inner: str) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=state[inner].shape[0],
        num_hidden_layers=layers,
        num_attention_heads=2,
        vocab_size=state[tokens].shape[0],
        projection_dim=width,
    )


def _layers(state: State, prefix: str) -> int:
    return 1 + max(int(key[len(prefix) :].split(".")[0]) for key in state if key.startswith(prefix))


def _clip(family: str, state: State) -> Module:
    from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint
    from transformers import CLIPTextModel

    prefix = CLIP[family]
    layers = prefix + "text_model.encoder.layers."
    tokens = prefix + "text_model.embeddings.token_embedding.weight"
    config = _text_config(
        state[tokens].shape[1], _layers(state, layers), state, tokens, layers + "0.mlp.fc1.weight"
    )
    model = CLIPTextModel(config)
    converted = {
        key: tensor
        for key, tensor in convert_ldm_clip_checkpoint(dict(state), remove_prefix=prefix).items()
        if not key.endswith("position_ids")
    }
    if not hasattr(model, "text_model"):  # transformers 5.6 and newer
        converted = {key.removeprefix("text_model."): tensor for key, tensor in converted.items()}
    model.load_state_dict(converted, strict=True)
    return model


def _openclip(state: State) -> Module:
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
    from transformers import CLIPTextModelWithProjection

    blocks = OPENCLIP + "transformer.resblocks."
    tokens = OPENCLIP + "token_embedding.weight"
    config = _text_config(
        state[tokens].shape[1], _layers(state, blocks), state, tokens, blocks + "0.mlp.c_fc.weight"
    )
    model = CLIPTextModelWithProjection(config)
    model.load_state_dict(convert_open_clip_checkpoint(model, dict(state), prefix=OPENCLIP), strict=True)
    return model


def pipeline_of(family: str, models: Models) -> Any:
    """A pipeline that can load adapters; it has no tokenizer, so it cannot draw."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    parts = {
        "vae": models.vae,
        "unet": models.unet,
        "scheduler": DDIMScheduler(clip_sample=False, steps_offset=1),
        "tokenizer": None,
    }
    if family == "sdxl":
        return StableDiffusionXLPipeline(
            **parts,
            text_encoder=models.te1,
            text_encoder_2=models.te2,
            tokenizer_2=None,
            add_watermarker=False,
        )
    return StableDiffusionPipeline(
        **parts,
        text_encoder=models.te1,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
