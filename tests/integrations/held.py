"""Models as ComfyUI holds them: tensors of a checkpoint under the names of its MODEL and CLIP.

Written from the names that ComfyUI shows in its models; SD 1 and SDXL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

UNET = "model.diffusion_model."
CLIP_L = {
    "cond_stage_model.transformer.": "clip_l.transformer.",
    "conditioner.embedders.0.transformer.": "clip_l.transformer.",
}
OPEN_CLIP = "conditioner.embedders.1.model.transformer.resblocks."
LAYERS = {"attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}

Tensors = Mapping[str, torch.Tensor]


def unet_of(checkpoint: Tensors) -> dict[str, torch.Tensor]:
    """`diffusion_model.…` → tensor."""
    return {
        f"diffusion_model.{key.removeprefix(UNET)}": value
        for key, value in checkpoint.items()
        if key.startswith(UNET)
    }


def clip_of(checkpoint: Tensors) -> dict[str, torch.Tensor]:
    """`clip_l.transformer.…` and `clip_g.transformer.…` → tensor."""
    return dict(_clip(checkpoint))


def _clip(checkpoint: Tensors) -> Iterator[tuple[str, torch.Tensor]]:
    for key, value in checkpoint.items():
        for start, own in CLIP_L.items():
            if key.startswith(start):
                yield key.replace(start, own), value
        if key.startswith(OPEN_CLIP):
            number, _, rest = key.removeprefix(OPEN_CLIP).partition(".")
            layer = f"clip_g.transformer.text_model.encoder.layers.{number}"
            part, _, kind = rest.rpartition(".")
            if part in LAYERS:
                yield f"{layer}.{LAYERS[part]}.{kind}", value
            elif rest.startswith("attn.in_proj_"):
                for name, rows in zip("qkv", value.chunk(3), strict=True):
                    yield f"{layer}.self_attn.{name}_proj.{rest.removeprefix('attn.in_proj_')}", rows


def layers_of(*held: Tensors, encoders: Tensors | None = None) -> dict[str, tuple[int, ...]]:
    """What `live_patches` asks for, of tensors of a MODEL, and of a CLIP."""
    named = {name: value for one in held for name, value in one.items()}
    named |= {f"text_encoders.{name}": value for name, value in (encoders or {}).items()}
    return {name.removesuffix(".weight"): tuple(value.shape) for name, value in named.items()}
