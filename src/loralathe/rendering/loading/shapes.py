"""Configurations of the networks, read off the shapes of their tensors: any width, any depth.

Two things are not in the shapes: the number of attention heads (of the U-Net a fact of its family, in text
encoders width / 64) and 32 groups in every norm. Where a narrow model
makes them impossible the nearest possible number is taken: gcd(heads, channels) heads, 1 head below 64
channels, and the largest power of two that divides all channels as groups.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from loralathe.errors import InputError
from loralathe.families import DENOISER_PREFIX, Family
from loralathe.rendering.loading.weights import Shaped

Shapes = Mapping[str, Shaped]
Config = dict[str, Any]
"""Keyword arguments of a diffusers or transformers configuration."""

UNET = DENOISER_PREFIX
GROUPS = 32
HEAD_WIDTH = 64


def unet_config(shapes: Shapes, *, heads: int | None) -> Config:
    """Arguments of diffusers' UNet2DConditionModel. `heads`: see `Pictures`."""
    inputs = _numbers(shapes, UNET + "input_blocks.")
    downs = [i for i in inputs if f"{UNET}input_blocks.{i}.0.op.weight" in shapes]
    levels = len(downs) + 1
    layers = (downs[0] if downs else len(inputs)) - 1
    firsts = [1 + level * (layers + 1) for level in range(levels)]
    channels = [_shape(shapes, f"{UNET}input_blocks.{i}.0.out_layers.3.weight")[0] for i in firsts]
    depths = [_depth(shapes, f"{UNET}input_blocks.{i}.1.") for i in firsts]
    attends = [depth > 0 for depth in depths]
    if not depths[-1]:
        depths[-1] = _depth(shapes, UNET + "middle_block.1.")  # diffusers' mid block takes the last depth
    key = _first(shapes, UNET, ".attn2.to_k.weight")
    config: Config = {
        "in_channels": _shape(shapes, UNET + "input_blocks.0.0.weight")[1],
        "out_channels": _shape(shapes, UNET + "out.2.weight")[0],
        "block_out_channels": tuple(channels),
        "layers_per_block": layers,
        "down_block_types": tuple("CrossAttnDownBlock2D" if yes else "DownBlock2D" for yes in attends),
        "up_block_types": tuple("CrossAttnUpBlock2D" if yes else "UpBlock2D" for yes in reversed(attends)),
        "transformer_layers_per_block": tuple(max(depth, 1) for depth in depths),
        "cross_attention_dim": _shape(shapes, key)[1],
        "use_linear_projection": len(_shape(shapes, _first(shapes, UNET, ".proj_in.weight"))) == 2,
        "attention_head_dim": tuple(_unet_heads(width, heads) for width in channels),
        "norm_num_groups": _groups(channels),
    }
    label = f"{UNET}label_emb.0.0.weight"
    if label in shapes:
        config["addition_embed_type"] = "text_time"
        config["projection_class_embeddings_input_dim"] = _shape(shapes, label)[1]
    return config


def pooled_width(shapes: Shapes, prefix: str) -> int:
    """Of what an OpenCLIP encoder says of the whole text; `prefix` as for `open_clip_config`."""
    return int(open_clip_config(shapes, prefix)["projection_dim"])


def with_time_width(config: Config, pooled_width: int) -> Config:
    """SDXL: six numbers (sizes and crop) fill what the pooled text leaves of the label embedding."""
    spare = config["projection_class_embeddings_input_dim"] - pooled_width
    if spare <= 0 or spare % 6:
        raise InputError(
            "the label embedding does not fit the second text encoder: "
            f"{config['projection_class_embeddings_input_dim']} inputs, {pooled_width} of them text",
            fix="the U-Net and the text encoders come from different models",
        )
    return {**config, "addition_time_embed_dim": spare // 6}


def vae_config(
    shapes: Shapes, prefix: str, *, scaling_factor: float, side: int, shift_factor: float = 0.0
) -> Config:
    """Arguments of diffusers' AutoencoderKL, for a VAE in the original or the diffusers layout.

    `side` is the size in pixels that the family was trained at; tiles, where asked for, are that big.
    """
    down, block = ("down", "block") if f"{prefix}encoder.down.0.block.0.conv1.weight" in shapes else (
        "down_blocks", "resnets"
    )  # fmt: skip
    levels = _numbers(shapes, f"{prefix}encoder.{down}.")
    channels = [
        _shape(shapes, f"{prefix}encoder.{down}.{level}.{block}.0.conv1.weight")[0] for level in levels
    ]
    return {
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": tuple(channels),
        "layers_per_block": len(_numbers(shapes, f"{prefix}encoder.{down}.0.{block}.")),
        "down_block_types": ("DownEncoderBlock2D",) * len(levels),
        "up_block_types": ("UpDecoderBlock2D",) * len(levels),
        "latent_channels": _shape(shapes, f"{prefix}decoder.conv_in.weight")[1],
        "norm_num_groups": _groups(channels),
        "scaling_factor": scaling_factor,
        "shift_factor": shift_factor,
        "sample_size": side,
        "use_quant_conv": any(f"{prefix}{part}quant_conv.weight" in shapes for part in ("", "encoder.")),
        "use_post_quant_conv": any(
            f"{prefix}{part}post_quant_conv.weight" in shapes for part in ("", "decoder.")
        ),
    }


def clip_config(shapes: Shapes, prefix: str, *, open_clip: bool = False) -> Config:
    """Arguments of transformers' CLIPTextConfig for CLIP-L; `prefix` ends before `embeddings.`.

    open_clip: for CLIP-G under the same names.
    """
    vocabulary, width = _shape(shapes, prefix + "embeddings.token_embedding.weight")
    return {
        **_text_config(vocabulary, width),
        "num_hidden_layers": len(_numbers(shapes, prefix + "encoder.layers.")),
        "intermediate_size": _shape(shapes, prefix + "encoder.layers.0.mlp.fc1.weight")[0],
        "max_position_embeddings": _shape(shapes, prefix + "embeddings.position_embedding.weight")[0],
        "hidden_act": "gelu" if open_clip else "quick_gelu",
    }


def t5_config(shapes: Shapes, prefix: str) -> Config:
    """Arguments of transformers' T5Config for an encoder; `prefix` ends before `encoder.`."""
    attention = f"{prefix}encoder.block.0.layer.0.SelfAttention."
    buckets, heads = _shape(shapes, attention + "relative_attention_bias.weight")
    inner, width = _shape(shapes, attention + "q.weight")
    return {
        "vocab_size": _shape(shapes, prefix + "shared.weight")[0],
        "d_model": width,
        "d_kv": inner // heads,
        "d_ff": _shape(shapes, f"{prefix}encoder.block.0.layer.1.DenseReluDense.wi_0.weight")[0],
        "num_layers": len(_numbers(shapes, prefix + "encoder.block.")),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": False,
    }


def qwen3_config(shapes: Shapes, prefix: str) -> Config:
    """Arguments of transformers' Qwen3Config; `prefix` ends before `layers.`."""
    attention = f"{prefix}layers.0.self_attn."
    vocabulary, width = _shape(shapes, prefix + "embed_tokens.weight")
    (head,) = _shape(shapes, attention + "q_norm.weight")
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _shape(shapes, f"{prefix}layers.0.mlp.gate_proj.weight")[0],
        "num_hidden_layers": len(_numbers(shapes, prefix + "layers.")),
        "num_attention_heads": _shape(shapes, attention + "q_proj.weight")[0] // head,
        "num_key_value_heads": _shape(shapes, attention + "k_proj.weight")[0] // head,
        "head_dim": head,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
        "max_position_embeddings": 40_960,
        "use_cache": False,
    }


@dataclass(frozen=True, eq=False)
class Layers:
    """The tensors of a transformer by their paths behind its prefix, whatever the file has before them."""

    shapes: Shapes

    @classmethod
    def of(cls, shapes: Shapes, family: Family) -> Layers:
        component = family.component("unet")
        paths = {component.path(key): shape for key, shape in shapes.items() if component.owns(key)}
        return cls({path: shape for path, shape in paths.items() if path is not None})

    def shape(self, path: str) -> tuple[int, ...]:
        return _shape(self.shapes, path)

    def has(self, path: str) -> bool:
        return path in self.shapes

    def count(self, start: str) -> int:
        """How many numbered blocks there are behind `start`."""
        return len(_numbers(self.shapes, start))


def rope_axes(axes: tuple[int, ...], head: int) -> tuple[int, ...]:
    """How many channels of a head turn with each axis of a place: even numbers, at another width nearly the
    same shares.
    """
    if sum(axes) == head:
        return axes
    rest = [max(2, 2 * (axis * head // (2 * sum(axes)))) for axis in axes[1:]]
    return (head - sum(rest), *rest)


def open_clip_config(shapes: Shapes, prefix: str) -> Config:
    """Arguments of CLIPTextConfig for OpenCLIP; `prefix` ends before `transformer.resblocks.`."""
    vocabulary, width = _shape(shapes, prefix + "token_embedding.weight")
    config = {
        **_text_config(vocabulary, width),
        "num_hidden_layers": len(_numbers(shapes, prefix + "transformer.resblocks.")),
        "intermediate_size": _shape(shapes, prefix + "transformer.resblocks.0.mlp.c_fc.weight")[0],
        "max_position_embeddings": _shape(shapes, prefix + "positional_embedding")[0],
        "hidden_act": "gelu",
    }
    for key, axis in (("text_projection", 1), ("text_projection.weight", 0)):
        if prefix + key in shapes:
            config["projection_dim"] = _shape(shapes, prefix + key)[axis]
    return config


def _text_config(vocabulary: int, width: int) -> Config:
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_attention_heads": width // HEAD_WIDTH if width % HEAD_WIDTH == 0 else 1,
        "projection_dim": width,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "pad_token_id": 1,
    }


def _unet_heads(channels: int, heads: int | None) -> int:
    if heads is not None:
        return math.gcd(heads, channels)
    return channels // HEAD_WIDTH if channels % HEAD_WIDTH == 0 else 1


def _groups(channels: Iterable[int]) -> int:
    return math.gcd(GROUPS, *channels)


def _numbers(shapes: Shapes, prefix: str) -> list[int]:
    """The integers that follow `prefix` in the keys, sorted."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return sorted({int(match[1]) for match in map(pattern.match, shapes) if match})


def _depth(shapes: Shapes, prefix: str) -> int:
    return len(_numbers(shapes, prefix + "transformer_blocks."))


def _first(shapes: Shapes, prefix: str, suffix: str) -> str:
    found = next((key for key in shapes if key.startswith(prefix) and key.endswith(suffix)), None)
    if found is None:
        raise _missing(prefix + "…" + suffix)
    return found


def _shape(shapes: Shapes, key: str) -> tuple[int, ...]:
    if key not in shapes:
        raise _missing(key)
    return tuple(shapes[key].shape)


def _missing(key: str) -> InputError:
    return InputError(
        f"the tensor '{key}' is missing, so the network cannot be built",
        fix="the checkpoint is incomplete; get the file again",
    )
