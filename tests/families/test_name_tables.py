"""Names that ComfyUI reads, by its own tables: each means the same layer, and the same rows, with us."""

from __future__ import annotations

import pytest

import checkpoints
from checkpoints import FakeHeader, Spec
from loralathe.adapters import address_of_raw, detect_adapter, own_family
from loralathe.adapters.origin import told_family
from loralathe.families import BIAS, Family
from loralathe.families.anima import ANIMA, ANIMA_40, ANIMA_52
from loralathe.families.krea2 import KREA2
from loralathe.families.qwen_image import QWEN_IMAGE
from loralathe.families.qwen_image_21 import QWEN_IMAGE_21
from loralathe.families.zimage import ZIMAGE

TABLES = {  # family → the end of its manifests' names
    ZIMAGE: "zimage",
    QWEN_IMAGE: "qwen_image",
    KREA2: "krea2",
    ANIMA: "anima",
}
PREFIX = "model.diffusion_model."


def found(family: Family, raw: str, heights: dict[str, int]) -> object:
    """What a name means, as the tables say it: a key, or a key with rows; None for no layer of the family."""
    place = address_of_raw(family, raw)
    if place is None:
        return None
    key = family.module(place.module).key.removeprefix(PREFIX)
    assert not place.swapped
    if place.slot is None:
        return key
    unit = heights[key] // sum(place.ratios)
    first = unit * sum(place.ratios[: place.slot])
    return {"key": key, "rows": [first, first + unit * place.ratios[place.slot]]}


@pytest.mark.parametrize("family", TABLES, ids=lambda family: family.id)
def test_every_name_means_the_same_layer(family: Family) -> None:
    shapes = checkpoints.manifest(f"ckpt_{TABLES[family]}")
    heights = {key: spec.shape[0] for key, spec in shapes.items()}
    names = checkpoints.raw_manifest(f"loranames_{TABLES[family]}")
    assert len(names) > 1000
    for raw, wanted in names.items():
        key = wanted["key"] if isinstance(wanted, dict) else wanted
        # The tables have a few names for layers that the model lacks, which ComfyUI skips.
        assert found(family, raw, heights) == (wanted if key in shapes else None), raw


@pytest.mark.parametrize(
    ("family", "raw", "module"),
    [
        (ANIMA, "net.blocks.3.mlp.layer1", "blocks.3.mlp.layer1"),
        (ANIMA, "transformer.transformer_blocks.3.attn2.to_out.0", "blocks.3.cross_attn.output_proj"),
        (ANIMA, "lycoris_blocks_3_self_attn_q_proj", "blocks.3.self_attn.q_proj"),
        (ANIMA, "base_model.model.blocks.3.self_attn.q_proj", "blocks.3.self_attn.q_proj"),
        (ANIMA, "blocks.27.mlp.layer2", "blocks.27.mlp.layer2"),
        (ANIMA, "text_conditioner.blocks.1.mlp.0", "llm_adapter.blocks.1.mlp.0"),
        (KREA2, "base_model.model.blocks.3.attn.wo", "blocks.3.attn.wo"),
        (KREA2, "lora_unet_blocks_3_attn_gate", "blocks.3.attn.gate"),
        (ZIMAGE, "lora_unet_layers_3_attention_to_out_0", "layers.3.attention.out"),
        (ZIMAGE, "base_model.model.layers.3.feed_forward.w2", "layers.3.feed_forward.w2"),
    ],
)
def test_names_that_other_programs_write(family: Family, raw: str, module: str) -> None:
    """ComfyUI reads most of them not at all."""
    place = address_of_raw(family, raw)
    assert place is not None
    assert (place.module, place.slot) == (f"unet.{module}", None)


@pytest.mark.parametrize("start", ["lora_unet_", "lycoris_"])
def test_split_names_under_flat_starts(start: str) -> None:
    """ComfyUI ignores `lora_unet_layers_3_attention_to_k`; the trainer writes it."""
    place = address_of_raw(ZIMAGE, f"{start}layers_3_attention_to_k")
    assert place is not None
    assert (place.module, place.slot, place.ratios) == ("unet.layers.3.attention.qkv", 1, (1, 1, 1))


def test_biases_have_names_of_their_own() -> None:
    place = address_of_raw(KREA2, "diffusion_model.first.bias")
    assert place is not None
    assert place.module == f"unet.first{BIAS}"


def attention(depth: int, width: int = 64, rows: int = 64) -> FakeHeader:
    """A LoRA of PEFT on queries and keys alone, whose names several families have."""
    shapes = {}
    for number in range(depth):
        for letter, height in (("q", width), ("k", rows)):
            stem = f"transformer.transformer_blocks.{number}.attn.to_{letter}"
            shapes[f"{stem}.lora_A.weight"] = Spec((4, width))
            shapes[f"{stem}.lora_B.weight"] = Spec((height, 4))
    return FakeHeader(shapes, {})


@pytest.mark.parametrize(("depth", "family"), [(60, QWEN_IMAGE), (32, QWEN_IMAGE_21)])
def test_depth_tells_families_of_the_same_names_apart(depth: int, family: Family) -> None:
    header = attention(depth)
    detected = detect_adapter(header)
    assert family in detected.families
    assert all(other.denoiser.holds([f"transformer_blocks.{depth - 1}.attn.to_q"]) for other in
               detected.families if other in (QWEN_IMAGE, QWEN_IMAGE_21))  # fmt: skip
    assert told_family(header, detected) is family


@pytest.mark.parametrize(("depth", "family"), [(28, ANIMA), (40, ANIMA_40), (52, ANIMA_52), (3, ANIMA)])
def test_animas_loras_by_depth(depth: int, family: Family) -> None:
    shapes = {}
    for number in range(depth):
        shapes[f"lora_unet_blocks_{number}_mlp_layer1.lora_down.weight"] = Spec((4, 64))
        shapes[f"lora_unet_blocks_{number}_mlp_layer1.lora_up.weight"] = Spec((256, 4))
    for metadata in ({}, {"ss_v2": "False", "ss_base_model_version": "anima"}):
        header = FakeHeader(shapes, metadata)
        assert own_family(header, detect_adapter(header)) is family
