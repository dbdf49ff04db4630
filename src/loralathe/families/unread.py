"""Files that are recognised only to say what they are: models not supported yet, and parts of models."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from loralathe.families.family import FAMILIES, supported_families
from loralathe.families.recognition import DENOISER_PREFIX, NOT_WHOLE, Signature, TensorLike, UnreadFile

WHOLE = "give the whole checkpoint in one file (U-Net, text encoders, VAE under their original names)"
CONTROLNET = "a ControlNet cannot be merged as a checkpoint"
INVERSION = "a textual-inversion embedding"
EMBEDDING = (
    "it is a word for prompts and changes no weights, so there is nothing to merge; "
    "for pictures, keep it among the embeddings and write its name into the prompt"
)
NUMBERED = (
    "merge it into its base with the program that made it, then extract a LoRA from the two checkpoints"
)
ANYWHERE = ("", DENOISER_PREFIX, "transformer.")

GIVEN_AS_LORAS: tuple[UnreadFile, ...] = (
    *(
        UnreadFile(INVERSION, EMBEDDING, Signature(dict.fromkeys(keys, 2)))
        for keys in (("emb_params",), ("clip_l", "clip_g"), ("clip_l", "t5xxl"), ("string_to_param.*",))
    ),
    UnreadFile(
        "a LoRA of lora_diffusion (cloneofsimo), whose layers have numbers and no names",
        NUMBERED,
        Signature({"unet:0:up": 2, "unet:0:down": 2}),
    ),
)
"""What people keep among their LoRAs."""

UNREAD: tuple[UnreadFile, ...] = (
    UnreadFile(
        "a Stable Video Diffusion checkpoint",
        None,
        Signature({f"{DENOISER_PREFIX}input_blocks.1.0.time_stack.in_layers.0.weight": 1}),
    ),
    UnreadFile(
        "a ControlNet",
        CONTROLNET,
        Signature({"input_hint_block.0.weight": 4}, prefixes=("", "control_model.")),
    ),
    UnreadFile(
        "a ControlNet in the diffusers layout",
        CONTROLNET,
        Signature({"controlnet_cond_embedding.conv_in.weight": 4}),
    ),
    UnreadFile(
        "a U-Net alone in the diffusers layout (a file of a diffusers folder)",
        NOT_WHOLE,
        Signature(
            {
                "conv_in.weight": 4,
                "down_blocks.0.resnets.0.conv1.weight": 4,
                "time_embedding.linear_1.weight": 2,
            },
            prefixes=("", "unet."),
        ),
    ),
    UnreadFile(
        "a U-Net alone, without the prefix of a whole checkpoint",
        WHOLE,
        Signature(
            {"input_blocks.0.0.weight": 4, "middle_block.0.in_layers.2.weight": 4},
            prefixes=("", "diffusion_model."),
        ),
    ),
    UnreadFile(
        "a checkpoint without its U-Net",
        WHOLE,
        Signature(
            {"decoder.conv_in.weight": 4, "decoder.mid.block_1.conv1.weight": 4},
            prefixes=("first_stage_model.",),
        ),
        alone=True,
    ),
    UnreadFile(
        "a VAE alone in the diffusers layout (a file of a diffusers folder)",
        WHOLE,
        Signature(
            {"decoder.conv_in.weight": 4, "decoder.mid_block.resnets.0.conv1.weight": 4},
            prefixes=("", "vae."),
        ),
        alone=True,
    ),
    UnreadFile(
        "a VAE alone",
        WHOLE,
        Signature(
            {"decoder.conv_in.weight": 4, "decoder.mid.block_1.conv1.weight": 4}, prefixes=("", "vae.")
        ),
        alone=True,
    ),
    UnreadFile(
        "a text encoder alone",
        WHOLE,
        Signature(
            {"text_model.encoder.layers.0.mlp.fc1.weight": 2, "text_model.final_layer_norm.weight": 1},
            prefixes=("", "text_encoder.", "text_encoder_2.", "cond_stage_model.transformer."),
        ),
        alone=True,
    ),
    UnreadFile(
        "a T5 text encoder alone",
        WHOLE,
        Signature({"encoder.block.0.layer.0.SelfAttention.q.weight": 2}),
    ),
    *GIVEN_AS_LORAS,
)
"""More special kinds stand earlier."""
ADAPTER_WORDS = {"lora_prior_unet": "Stable Cascade"}
"""Words in module names of adapters → the family that alone has them."""


def name_unread(tensors: Mapping[str, TensorLike]) -> tuple[str, str] | None:
    """What a file is ('an SD 3 model') and what to do, if it is of a kind that is known but not read."""
    return _named((*(kind for family in FAMILIES for kind in family.unread), *UNREAD), tensors)


def name_given_as_lora(tensors: Mapping[str, TensorLike]) -> tuple[str, str] | None:
    """The same for a file that was given as a LoRA: what to do then."""
    return _named(GIVEN_AS_LORAS, tensors)


def _named(kinds: Iterable[UnreadFile], tensors: Mapping[str, TensorLike]) -> tuple[str, str] | None:
    if _is_learned_word(tensors):
        return INVERSION, EMBEDDING
    found = next((kind for kind in kinds if kind.matches(tensors)), None)
    if found is None:
        return None
    return found.what, found.fix or f"{supported_families()} checkpoints are supported"


def _is_learned_word(tensors: Mapping[str, TensorLike]) -> bool:
    """Vectors under the word itself, as diffusers writes them, or those of one encoder alone."""
    if len(tensors) != 1:
        return False
    ((name, tensor),) = tensors.items()
    word = name in ("clip_l", "clip_g") or (name.startswith("<") and name.endswith(">"))
    return word and len(tensor.shape) in (1, 2)


def family_of_words(modules: Collection[str]) -> str | None:
    """The family that is not supported and whose adapters name their modules so."""
    found = (family for word, family in ADAPTER_WORDS.items() if any(word in module for module in modules))
    return next(found, None)
