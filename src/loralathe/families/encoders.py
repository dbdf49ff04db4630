"""Text encoders: transformers' CLIP and T5, and OpenCLIP, all under transformers' layer names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from loralathe.families.layers import Layer, Scope, layer

ENCODER_LAYERS = "text_model.encoder.layers."
LAYER = f"{ENCODER_LAYERS}#"
BLOCK = "transformer.resblocks.#"
EMBEDDINGS = "text_model.embeddings"
PROJECTIONS = ("q_proj", "k_proj", "v_proj")
ATTENTION = (*PROJECTIONS, "out_proj")

# (name inside a layer, OpenCLIP's name or None where it is a slice of the fused in_proj, scope)
INSIDE: tuple[tuple[str, str, Scope], ...] = (
    ("layer_norm1", "ln_1", "vector"),
    ("layer_norm2", "ln_2", "vector"),
    ("self_attn.out_proj", "attn.out_proj", "linear"),
    ("mlp.fc1", "mlp.c_fc", "linear"),
    ("mlp.fc2", "mlp.c_proj", "linear"),
)


def clip_layers(*, projection: bool = False) -> Iterator[Layer]:
    """CLIP as transformers names it: the original layout and diffusers agree.

    projection: whether the family reads what the encoder says of the whole prompt through it (SD 3 does)
    """
    if projection:
        yield layer("text_projection", bias=False)
    yield layer(f"{EMBEDDINGS}.token_embedding")
    yield layer(f"{EMBEDDINGS}.position_embedding")
    yield layer("text_model.final_layer_norm", scope="vector")
    for name, _, scope in INSIDE:
        yield layer(f"{LAYER}.{name}", scope=scope)
    for name in PROJECTIONS:
        yield layer(f"{LAYER}.self_attn.{name}", scope="linear")


def open_clip_layers(*, projection: bool) -> Iterator[Layer]:
    """OpenCLIP: q, k, v are thirds of the rows of one tensor, the projection is stored transposed.

    projection: whether the diffusers model keeps `text_projection` (SDXL does, SD 2 does not).
    """
    yield layer(f"{EMBEDDINGS}.token_embedding", original="token_embedding")
    position = f"{EMBEDDINGS}.position_embedding"
    yield Layer(position, position, "positional_embedding", None)
    yield layer("text_model.final_layer_norm", scope="vector", original="ln_final")
    for name, original, scope in INSIDE:
        yield layer(f"{LAYER}.{name}", scope=scope, original=f"{BLOCK}.{original}")
    for i, name in enumerate(PROJECTIONS):
        path, fused = f"{LAYER}.self_attn.{name}", f"{BLOCK}.attn.in_proj"
        yield Layer(path, path, f"{fused}_weight", f"{fused}_bias", "linear", (i, len(PROJECTIONS)))
    kept = "text_projection" if projection else None
    yield Layer("text_projection", kept, "text_projection", None, transform="transpose")
    # Some writers store it as a linear layer, not transposed.
    yield Layer("text_projection", kept, "text_projection.weight", None)


def t5_layers() -> Iterator[Layer]:
    """The encoder half of T5 as transformers names it: no layer has a bias."""
    block = "encoder.block.#.layer"
    for name in ("q", "k", "v", "o"):
        yield _t5_layer(f"{block}.0.SelfAttention.{name}", "linear")
    for name in ("wi_0", "wi_1", "wo"):
        yield _t5_layer(f"{block}.1.DenseReluDense.{name}", "linear")
    yield _t5_layer(f"{block}.0.SelfAttention.relative_attention_bias")
    for name in ("shared", "encoder.embed_tokens"):
        yield _t5_layer(name)
    for name in (f"{block}.0.layer_norm", f"{block}.1.layer_norm", "encoder.final_layer_norm"):
        yield _t5_layer(name, "vector")


def _t5_layer(name: str, scope: Scope = "outside") -> Layer:
    return Layer(name, name, f"{name}.weight", None, scope)


def deepest_layer(names: Iterable[str], prefix: str) -> set[str]:
    """Those of `names` that lie in the highest-numbered layer behind `prefix` (`…layers.`)."""
    by_depth: dict[int, set[str]] = {}
    for name in names:
        number = name.removeprefix(prefix).partition(".")[0] if name.startswith(prefix) else ""
        if number.isdigit():
            by_depth.setdefault(int(number), set()).add(name)
    return by_depth[max(by_depth)] if by_depth else set()
