"""Files that are recognised only to say what they are: families and parts not worked on yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from loralathe.families.signatures import Signature, TensorLike

_UNET = "model.diffusion_model."
WHOLE = "give the whole checkpoint in one file (U-Net, text encoders, VAE under their original names)"
LATER = "SD 1.5, SD 2, SDXL and Flux checkpoints are supported"


@dataclass(frozen=True, slots=True)
class Foreign:
    """A kind of file that can be named.

    what: how an error calls it ('this is …'); fix: what to do; prefixes: tried before each key;
    alone: it is that only if the file has no U-Net of a checkpoint beside it.
    """

    what: str
    fix: str
    signature: Signature
    prefixes: tuple[str, ...] = ("",)
    alone: bool = False

    def matches(self, tensors: Mapping[str, TensorLike]) -> bool:
        if self.alone and any(key.startswith(_UNET) for key in tensors):
            return False
        return replace(self.signature, prefixes=self.prefixes).matches(tensors)


_DIT_PREFIXES = ("", _UNET, "transformer.")

FOREIGN: tuple[Foreign, ...] = (
    Foreign(
        "an SDXL refiner checkpoint",
        "the refiner is not supported; use an SDXL base model",
        Signature({f"{_UNET}label_emb.0.0.weight": 2, f"{_UNET}input_blocks.9.0.op.weight": 4}),
    ),
    Foreign(
        "a Stable Video Diffusion checkpoint",
        LATER,
        Signature({f"{_UNET}input_blocks.1.0.time_stack.in_layers.0.weight": 1}),
    ),
    Foreign(
        "an SD 3.5 medium model",
        LATER,
        Signature(
            {"joint_blocks.0.context_block.attn.qkv.weight": 2, "joint_blocks.0.x_block.attn2.qkv.weight": 2}
        ),
        _DIT_PREFIXES,
    ),
    Foreign(
        "an SD 3 or SD 3.5 model",
        LATER,
        Signature({"joint_blocks.0.context_block.attn.qkv.weight": 2}),
        _DIT_PREFIXES,
    ),
    Foreign(
        "a Flux transformer in the diffusers layout",
        "Flux is read in its original layout: one file with double_blocks and single_blocks",
        Signature({"single_transformer_blocks.0.attn.to_q.weight": 2, "x_embedder.weight": 2}),
        _DIT_PREFIXES,
    ),
    Foreign(
        "an SD 3 or SD 3.5 transformer in the diffusers layout",
        LATER,
        Signature({"transformer_blocks.0.attn.add_q_proj.weight": 2, "pos_embed.proj.weight": 4}),
        _DIT_PREFIXES,
    ),
    Foreign(
        "a ControlNet",
        "a ControlNet cannot be merged as a checkpoint",
        Signature({"input_hint_block.0.weight": 4}),
        ("", "control_model."),
    ),
    Foreign(
        "a ControlNet in the diffusers layout",
        "a ControlNet cannot be merged as a checkpoint",
        Signature({"controlnet_cond_embedding.conv_in.weight": 4}),
    ),
    Foreign(
        "a U-Net alone in the diffusers layout (a file of a diffusers folder)",
        WHOLE,
        Signature(
            {
                "conv_in.weight": 4,
                "down_blocks.0.resnets.0.conv1.weight": 4,
                "time_embedding.linear_1.weight": 2,
            }
        ),
        ("", "unet."),
    ),
    Foreign(
        "a U-Net alone, without the prefix of a whole checkpoint",
        WHOLE,
        Signature({"input_blocks.0.0.weight": 4, "middle_block.0.in_layers.2.weight": 4}),
        ("", "diffusion_model."),
    ),
    Foreign(
        "a checkpoint without its U-Net",
        WHOLE,
        Signature({"decoder.conv_in.weight": 4, "decoder.mid.block_1.conv1.weight": 4}),
        ("first_stage_model.",),
        alone=True,
    ),
    Foreign(
        "a VAE alone in the diffusers layout (a file of a diffusers folder)",
        WHOLE,
        Signature({"decoder.conv_in.weight": 4, "decoder.mid_block.resnets.0.conv1.weight": 4}),
        ("", "vae."),
        alone=True,
    ),
    Foreign(
        "a VAE alone",
        WHOLE,
        Signature({"decoder.conv_in.weight": 4, "decoder.mid.block_1.conv1.weight": 4}),
        ("", "vae."),
        alone=True,
    ),
    Foreign(
        "a text encoder alone",
        WHOLE,
        Signature({"text_model.encoder.layers.0.mlp.fc1.weight": 2, "text_model.final_layer_norm.weight": 1}),
        ("", "text_encoder.", "text_encoder_2.", "cond_stage_model.transformer."),
        alone=True,
    ),
    Foreign(
        "a T5 text encoder alone",
        WHOLE,
        Signature({"encoder.block.0.layer.0.SelfAttention.q.weight": 2}),
    ),
    Foreign("a textual-inversion embedding", "give a checkpoint", Signature({"emb_params": 2})),
    Foreign(
        "an SDXL textual-inversion embedding", "give a checkpoint", Signature({"clip_l": 2, "clip_g": 2})
    ),
)


def name_foreign(tensors: Mapping[str, TensorLike]) -> Foreign | None:
    """The first known kind of file this is; more special kinds stand earlier in the list."""
    return next((kind for kind in FOREIGN if kind.matches(tensors)), None)
