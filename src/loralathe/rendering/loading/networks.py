"""Networks from tensors: diffusers' converters for the names, strict loading for everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from loralathe.errors import InputError
from loralathe.rendering.loading import shapes
from loralathe.rendering.loading.weights import Weights, read_under

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel

Tensors = dict[str, torch.Tensor]
VAE = "first_stage_model."
SCALING = {"sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025}


def filled(make: Callable[[], Any], tensors: Tensors, what: str, where: str) -> Any:
    """The network that `make` builds, holding `tensors`; every parameter must be given, none left over."""
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        network = make()
    try:
        network.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise InputError(
            f"the {what} cannot be loaded", where=f"{where}: {' '.join(lines)[:400]}",
            fix="the checkpoint is incomplete, or parts of it come from another family",
        ) from error  # fmt: skip
    network.eval()
    network.requires_grad_(False)
    return network


def load_unet(weights: Weights, config: shapes.Config, dtype: torch.dtype) -> UNet2DConditionModel:
    """The U-Net of a checkpoint in the original layout."""
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    tensors = convert_ldm_unet_checkpoint(read_under(weights, [shapes.UNET], dtype), config)
    unet: UNet2DConditionModel = filled(
        lambda: UNet2DConditionModel(**config), tensors, "U-Net", weights.name
    )
    return unet


def load_vae(weights: Weights, *, family: str, dtype: torch.dtype) -> AutoencoderKL:
    """The VAE of a checkpoint, or of a file of its own, in the original or the diffusers layout."""
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    prefix = next((p for p in (VAE, "vae.", "") if f"{p}decoder.conv_in.weight" in weights.tensors), None)
    if prefix is None:
        raise InputError(
            "there is no VAE in the file", where=weights.name, fix="name a VAE file beside the checkpoint"
        )
    config = shapes.vae_config(weights.tensors, prefix, scaling_factor=SCALING[family])
    wanted = [prefix + part for part in ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")]
    tensors = read_under(weights, wanted, dtype)
    if f"{prefix}encoder.down.0.block.0.conv1.weight" in tensors:
        tensors = convert_ldm_vae_checkpoint(tensors, config)
    else:
        tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    vae: AutoencoderKL = filled(lambda: AutoencoderKL(**config), tensors, "VAE", weights.name)
    return vae


def load_clip(weights: Weights, root: str, dtype: torch.dtype) -> Any:
    """CLIP-L as transformers' CLIPTextModel. Old merges leave out the inner `text_model.`; both are read."""
    from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModel

    inner = "text_model." if any(key.startswith(root + "text_model.") for key in weights.tensors) else ""
    config = shapes.clip_config(weights.tensors, root + inner)
    tensors = convert_ldm_clip_checkpoint(read_under(weights, [root], dtype), remove_prefix=root)
    plain = {
        key.removeprefix("text_model."): tensor
        for key, tensor in tensors.items()
        if not key.endswith("position_ids")
    }
    return filled(
        lambda: CLIPTextModel(CLIPTextConfig(**config)),
        _as_wrapped(plain, CLIPTextModel, config),
        "text encoder",
        weights.name,
    )


def load_open_clip(weights: Weights, root: str, dtype: torch.dtype, *, projected: bool) -> Any:
    """OpenCLIP as transformers' CLIP. `projected` (SDXL): with text_projection; else (SD 2) without it
    and without the last layer, which that family never uses.
    """
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = shapes.open_clip_config(weights.tensors, root)
    tensors = read_under(weights, [root], dtype)
    tensors.pop(root + "logit_scale", None)
    if not projected:
        last = config["num_hidden_layers"] - 1
        config = {**config, "num_hidden_layers": last}
        for key in [k for k in tensors if k.startswith(f"{root}transformer.resblocks.{last}.")]:
            del tensors[key]
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    with torch.device("meta"):
        blank = kind(CLIPTextConfig(**config))
    converted = convert_open_clip_checkpoint(blank, tensors, prefix=root)
    projection = converted.pop("text_projection.weight", tensors.get(root + "text_projection.weight"))
    plain = {key.removeprefix("text_model."): tensor for key, tensor in converted.items()}
    wrapped = _as_wrapped(plain, kind, config)
    if projected and projection is not None:
        wrapped["text_projection.weight"] = projection
    return filled(lambda: kind(CLIPTextConfig(**config)), wrapped, "text encoder", weights.name)


def _as_wrapped(plain: Tensors, kind: Any, config: shapes.Config) -> Tensors:
    """Keys as this transformers version wants them: some classes keep an inner `text_model`, some lost it."""
    from transformers import CLIPTextConfig

    with torch.device("meta"):
        blank = kind(CLIPTextConfig(**config))
    inner = "text_model." if hasattr(blank, "text_model") else ""
    return {inner + key: tensor for key, tensor in plain.items()}
