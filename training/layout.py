"""Names: diffusers' and transformers' modules to SDXL's single-file layout.

Three levels of two layers, transformers on the lower two, so every number of SDXL's own layout occurs here
too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TE1 = "conditioner.embedders.0.transformer.text_model."
TE2 = "conditioner.embedders.1.model."

_Rules = tuple[tuple[str, str], ...]

_RESNET: _Rules = (
    (r"\.norm1\.", ".in_layers.0."),
    (r"\.conv1\.", ".in_layers.2."),
    (r"\.time_emb_proj\.", ".emb_layers.1."),
    (r"\.norm2\.", ".out_layers.0."),
    (r"\.conv2\.", ".out_layers.3."),
    (r"\.conv_shortcut\.", ".skip_connection."),
)
_UNET_OUTER: _Rules = (
    (r"^conv_in\.", "input_blocks.0.0."),
    (r"^time_embedding\.linear_1\.", "time_embed.0."),
    (r"^time_embedding\.linear_2\.", "time_embed.2."),
    (r"^add_embedding\.linear_1\.", "label_emb.0.0."),
    (r"^add_embedding\.linear_2\.", "label_emb.0.2."),
    (r"^conv_norm_out\.", "out.0."),
    (r"^conv_out\.", "out.2."),
)
_VAE: _Rules = (
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.group_norm\.", ".norm."),
    (r"\.to_(q|k|v)\.", r".\1."),
    (r"\.to_out\.0\.", ".proj_out."),
    (r"\.down_blocks\.(\d)\.resnets\.", r".down.\1.block."),
    (r"\.down_blocks\.(\d)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
)
_CLIP_LAYER: _Rules = (
    (r"\.layer_norm(\d)\.", r".ln_\1."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)


def unet_name(name: str) -> str:
    """`down_blocks.1.resnets.0.conv1.weight` to `input_blocks.4.0.in_layers.2.weight`; module names too."""
    probe = name + "."  # module names end where tensor names go on
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", probe):
        kind, j, rest = found.groups()
        block = "middle_block.1" if kind == "attentions" else f"middle_block.{2 * int(j)}"
    elif found := re.match(r"down_blocks\.(\d)\.(resnets|attentions|downsamplers)\.(\d)\.(.*)", probe):
        i, kind, j, rest = found.groups()
        number = 3 * int(i) + int(j) + 1 if kind != "downsamplers" else 3 * int(i) + 3
        block = f"input_blocks.{number}.{int(kind == 'attentions')}"
        rest = re.sub(r"^conv\.", "op.", rest) if kind == "downsamplers" else rest
    elif found := re.match(r"up_blocks\.(\d)\.(resnets|attentions|upsamplers)\.(\d)\.(.*)", probe):
        i, kind, j, rest = found.groups()
        number = 3 * int(i) + (int(j) if kind != "upsamplers" else 2)
        block = f"output_blocks.{number}.{('resnets', 'attentions', 'upsamplers').index(kind)}"
    else:
        return _rename(probe, _UNET_OUTER)[:-1]
    inner = _rename(f".{rest}", _RESNET) if kind == "resnets" else f".{rest}"
    return (block + inner)[:-1]


def vae_name(name: str) -> str:
    """`decoder.up_blocks.0.resnets.1.conv1.weight` to `decoder.up.3.block.1.conv1.weight`."""
    if found := re.match(r"decoder\.up_blocks\.(\d)\.(resnets|upsamplers\.0)\.(.*)", name):
        i, kind, rest = found.groups()
        name = f"decoder.up.{3 - int(i)}.{'block' if kind == 'resnets' else 'upsample'}.{rest}"
    return _rename(name, _VAE)


def unet_tensors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A U-Net's tensors under their single-file keys."""
    return {UNET + unet_name(name): tensor for name, tensor in state.items()}


def vae_tensors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An autoencoder's tensors under their single-file keys; attention becomes 1x1 convolutions."""
    named = {VAE + vae_name(name): tensor for name, tensor in state.items()}
    attention = re.compile(r"attn_1\.(q|k|v|proj_out)\.weight$")
    return {key: t[:, :, None, None] if attention.search(key) else t for key, t in named.items()}


def te1_tensors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """CLIP-L's tensors under their single-file keys; position_ids as the original has them."""
    named = {TE1 + name.removeprefix("text_model."): t for name, t in state.items()}
    length = len(named[TE1 + "embeddings.position_embedding.weight"])
    return named | {TE1 + "embeddings.position_ids": torch.arange(length)[None]}


def te2_tensors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """OpenCLIP's tensors: q, k and v in one matrix, the projection transposed."""
    tensors = {name.removeprefix("text_model."): t for name, t in state.items()}
    out = {
        "text_projection": tensors.pop("text_projection.weight").T,
        "logit_scale": torch.tensor(100.0).log(),  # unused by any image model; every OpenCLIP file has it
    }
    for name in [n for n in tensors if ".self_attn.q_proj." in n]:
        block = name.partition(".self_attn.")[0].replace("encoder.layers", "transformer.resblocks")
        fused = [tensors.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        out[f"{block}.attn.in_proj_{name.rpartition('.')[2]}"] = torch.cat(fused)
    out |= {te2_name(name): tensor for name, tensor in tensors.items()}
    return {TE2 + key: tensor for key, tensor in out.items()}


def te2_name(name: str) -> str:
    """`encoder.layers.0.mlp.fc1.bias` to `transformer.resblocks.0.mlp.c_fc.bias`, but for q, k, v."""
    key = name.replace("encoder.layers", "transformer.resblocks").replace("final_layer_norm", "ln_final")
    key = key.replace("embeddings.token_embedding", "token_embedding")
    key = key.replace("embeddings.position_embedding.weight", "positional_embedding")
    return _rename(key, _CLIP_LAYER)


def kohya_name(module: str) -> str:
    """`unet.<diffusers path>`, `te1.<transformers path>` to a LoRA module's name as sd-scripts writes it."""
    component, _, path = module.partition(".")
    if component == "unet":
        return f"lora_unet_{unet_name(path)}".replace(".", "_")
    return f"lora_{component}_text_model.{path.removeprefix('text_model.')}".replace(".", "_")


def _rename(name: str, rules: _Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
