"""Text encoders that are language models: Qwen3, and Qwen2.5-VL and Qwen3-VL with their vision encoders.

In one file they stand as ComfyUI names them: `text_encoders.qwen3_4b.transformer.model.layers.0…`.
Pictures come from the hidden states, so the head that predicts the next word is not among the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from loralathe.families.components import Component
from loralathe.families.layers import Layer, Scope, bare_layer, layer

BLOCK = "LLM"
"""The block that a language model and its vision encoder are."""
ROOT = "text_encoders."


def language_model(name: str, *, qwen3: bool = True) -> Component:
    """A Qwen that ComfyUI calls `name`; the older ones have biases where Qwen3 has norms."""
    return Component(
        id="te1",
        label="text encoder",
        root=ROOT,
        prefix=f"{ROOT}{name}.transformer.model.",
        folder="text_encoder",
        layers=partial(_language_layers, qwen3=qwen3),
        kohya=("lora_te_", "lora_te1_"),
        block=BLOCK,
    )


def vision_encoder(name: str, layers: Callable[[], Iterator[Layer]]) -> Component:
    """The half of the same Qwen that sees pictures. It stands before the language model in a family."""
    prefix = f"{ROOT}{name}.transformer.visual."
    return Component(
        id="vision",
        label="vision encoder",
        root=prefix,
        prefix=prefix,
        folder="text_encoder.visual",
        layers=layers,
        block=BLOCK,
    )


def _language_layers(*, qwen3: bool) -> Iterator[Layer]:
    block = "layers.#"
    for name in ("q_proj", "k_proj", "v_proj"):
        yield layer(f"{block}.self_attn.{name}", scope="linear", bias=not qwen3)
    yield _unbiased(f"{block}.self_attn.o_proj", "linear")
    for name in ("gate_proj", "up_proj", "down_proj"):
        yield _unbiased(f"{block}.mlp.{name}", "linear")
    if qwen3:
        for name in ("q_norm", "k_norm"):
            yield _norm(f"{block}.self_attn.{name}")
    for name in (f"{block}.input_layernorm", f"{block}.post_attention_layernorm", "norm"):
        yield _norm(name)
    yield _unbiased("embed_tokens", "outside")


def qwen25_vision_layers() -> Iterator[Layer]:
    """Of Qwen2.5-VL."""
    block = "blocks.#"
    yield _unbiased("patch_embed.proj", "outside")
    for name in ("attn.qkv", "attn.proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):
        yield layer(f"{block}.{name}")
    for name in (f"{block}.norm1", f"{block}.norm2", "merger.ln_q"):
        yield _norm(name)
    for name in ("merger.mlp.0", "merger.mlp.2"):
        yield layer(name)


def qwen3_vision_layers() -> Iterator[Layer]:
    """Of Qwen3-VL."""
    yield layer("patch_embed.proj")
    yield _unbiased("pos_embed", "outside")
    for name in ("attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2"):
        yield layer(f"blocks.#.{name}")
    for name in ("norm1", "norm2"):
        yield layer(f"blocks.#.{name}", scope="vector")
    for merger in ("merger", "deepstack_merger_list.#"):
        yield layer(f"{merger}.norm", scope="vector")
        for name in ("linear_fc1", "linear_fc2"):
            yield layer(f"{merger}.{name}")


def _unbiased(name: str, scope: Scope) -> Layer:
    return layer(name, scope=scope, bias=False)


def _norm(name: str) -> Layer:
    return bare_layer(name, name, f"{name}.weight")
