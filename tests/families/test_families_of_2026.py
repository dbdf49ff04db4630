"""Transformers of 2025 and 2026: every tensor in its place, names of diffusers, blocks, sisters by depth."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import pytest

import checkpoints
from checkpoints import FakeHeader, Spec
from loralathe.adapters import address_of_raw
from loralathe.errors import InputError
from loralathe.families import BASE, Family, detect_checkpoint
from loralathe.families.anima import ANIMA, ANIMA_40, ANIMA_52
from loralathe.families.krea2 import KREA2
from loralathe.families.qwen_image import QWEN_IMAGE
from loralathe.families.qwen_image_21 import QWEN_IMAGE_21
from loralathe.families.zimage import ZIMAGE

PREFIX = "model.diffusion_model."
MANIFESTS = {  # family → transformer alone, modules that its trainer trains
    ZIMAGE: ("ckpt_zimage", 170),
    QWEN_IMAGE: ("ckpt_qwen_image", 720),
    QWEN_IMAGE_21: ("ckpt_qwen_image_21", 192),
    KREA2: ("ckpt_krea2", 264),
    ANIMA: ("ckpt_anima", 280),
}
WHOLE = (
    ZIMAGE,
    QWEN_IMAGE,
    KREA2,
    ANIMA,
)
"""Those whose all-in-one files are known."""
PARAMETERS = {
    ZIMAGE: 6_154_908_736,
    QWEN_IMAGE: 20_430_401_088,
    QWEN_IMAGE_21: 7_115_124_736,
    KREA2: 12_820_073_036,
    ANIMA: 2_091_068_928,
}
SCALE = "logit scale, unused in pictures"
each_family = pytest.mark.parametrize("family", MANIFESTS, ids=lambda family: family.id)


def numbers(first: str, count: int) -> tuple[str, ...]:
    return tuple(f"{first}{number:02d}" for number in range(count))


def deepened(depth: int) -> dict[str, Spec]:
    """Anima with so many blocks."""
    tensors = dict(checkpoints.manifest("ckpt_anima"))
    block = {key: spec for key, spec in tensors.items() if key.startswith("blocks.27.")}
    for number in range(28, depth):
        tensors |= {key.replace("blocks.27.", f"blocks.{number}."): spec for key, spec in block.items()}
    return tensors


@each_family
@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("divisor", [1, 64])
def test_a_transformer_alone(family: Family, prefix: str, divisor: int) -> None:
    specs = checkpoints.tiny_specs(family.id, divisor)
    found = detect_checkpoint(FakeHeader({prefix + key: spec for key, spec in specs.items()}, {}))
    assert found.family is family
    assert (found.components, found.prediction) == (("unet",), "flow")


@each_family
def test_every_tensor_is_a_weight_or_a_bias_of_one_module(family: Family) -> None:
    name, trained = MANIFESTS[family]
    keys = checkpoints.manifest(name)
    modules, biases = family.modules(keys), family.biases(keys)
    held = [module.key for module in (*modules.values(), *biases.values())]
    assert sorted(held) == sorted(keys)
    assert sum(module.scope == "linear" for module in modules.values()) == trained
    spelled = {family.kohya_name(module): module for module in modules}
    assert len(spelled) == len(modules)
    assert all(family.module_of_kohya(raw) == module for raw, module in spelled.items())


@each_family
def test_a_tensor_of_every_block_is_missed(family: Family) -> None:
    keys = dict(checkpoints.manifest(MANIFESTS[family][0]))
    stem = max((key for key in keys if re.match(r"(transformer_)?(blocks|layers)\.1\.", key)), key=len)
    lost = keys.pop(stem)
    with pytest.raises(InputError, match=r"is incomplete: 1 tensor of its transformer is missing") as caught:
        detect_checkpoint(FakeHeader(keys, {}), "x.safetensors")
    assert lost
    assert caught.value.where == f"x.safetensors: {stem}"


@pytest.mark.parametrize("family", WHOLE, ids=lambda family: family.id)
def test_all_in_one_files(family: Family) -> None:
    """Transformer, language model and VAE as ComfyUI saves them."""
    keys = checkpoints.manifest(f"{MANIFESTS[family][0]}_all_in_one")
    found = detect_checkpoint(FakeHeader(keys, {}))
    assert found.family is family
    assert set(found.components) >= {"unet", "te1", "vae"}
    unknown = [key for key in keys if not family.knows_key(key)]
    assert [family.rule_for_key(key) for key in unknown] == [SCALE]
    held = {*family.modules(keys).values(), *family.biases(keys).values()}
    assert len(held) == len({module.key for module in held}) == len(keys) - 1
    assert {module.block for module in held if module.component in ("te1", "vision")} == {"LLM"}


MAPS = {
    ZIMAGE: "map_zimage_transformer",
    QWEN_IMAGE_21: "map_qwen_image_21_transformer",
    KREA2: "map_krea2_transformer",
    ANIMA: "map_anima_transformer",
}


def rows_of(entry: Mapping[str, object], height: int) -> range:
    rows = entry.get("rows")
    assert rows is None or isinstance(rows, list)
    return range(*rows) if rows else range(height)


@pytest.mark.parametrize("family", MAPS, ids=lambda family: family.id)
def test_names_of_diffusers_agree_with_its_own_conversion(family: Family) -> None:
    """The maps come from tensors with marked rows that went through diffusers' converters."""
    shapes = checkpoints.manifest(MANIFESTS[family][0])
    for key, value in checkpoints.raw_manifest(MAPS[family]).items():
        entry = value if isinstance(value, dict) else {"original": value}
        original = str(entry["original"])
        piece = family.component("unet").piece_of_diffusers(key)
        assert piece is not None, key
        assert piece.key == PREFIX + original
        height = shapes[original].shape[0]
        assert piece.rows(height) == rows_of(entry, height)
        stem = key.removesuffix(".weight").removesuffix(".bias")
        for raw in (f"transformer.{stem}", f"lycoris_{stem.replace('.', '_')}", f"base_model.model.{stem}"):
            place = address_of_raw(family, raw)
            assert place is not None, raw
            weight = original.removesuffix(".bias") + ".weight" if original.endswith(".bias") else original
            assert family.module(place.module).key == PREFIX + weight


@pytest.mark.parametrize(("depth", "family"), [(28, ANIMA), (40, ANIMA_40), (52, ANIMA_52)])
@pytest.mark.parametrize("prefix", ["", "net.", PREFIX])
def test_animas_of_three_depths(depth: int, family: Family, prefix: str) -> None:
    keys = {prefix + key: spec for key, spec in deepened(depth).items()}
    assert detect_checkpoint(FakeHeader(keys, {})).family is family
    modules = family.modules(keys)
    assert sum(module.scope == "linear" for module in modules.values()) == 10 * depth
    assert modules["unet.blocks.0.mlp.layer1"].key == f"{prefix}blocks.0.mlp.layer1.weight"
    assert all(family.knows_key(key) for key in keys)
    assert family.modern_key(f"{prefix}t_embedding_norm.weight") == f"{PREFIX}t_embedding_norm.weight"


def test_the_adapter_of_anima_is_a_part_that_trainers_leave_alone() -> None:
    keys = checkpoints.manifest("ckpt_anima")
    modules = [module for module in ANIMA.modules(keys).values() if "llm_adapter" in module.name]
    assert len(modules) == 118 - 13  # 13 of its tensors are biases
    assert {module.scope for module in modules} == {"outside", "vector"}
    assert {module.block for module in modules} == {"ADAPTER"}
    without = {key: spec for key, spec in keys.items() if not key.startswith("llm_adapter.")}
    with pytest.raises(InputError, match="a Cosmos-Predict2 model, or Anima without its llm_adapter"):
        detect_checkpoint(FakeHeader(without, {}))


def test_lumina_is_no_z_image() -> None:
    keys = dict(checkpoints.manifest("ckpt_zimage"))
    for name in ("x_pad_token", "cap_pad_token"):
        del keys[name]
    with pytest.raises(InputError, match="this is a Lumina 2 model"):
        detect_checkpoint(FakeHeader(keys, {}))


def test_models_in_layers_have_one_more_tensor() -> None:
    keys = dict(checkpoints.manifest("ckpt_qwen_image"))
    keys["time_text_embed.addition_t_embedding.weight"] = Spec((2, 3072))
    keys["__index_timestep_zero__"] = Spec((0,))
    assert detect_checkpoint(FakeHeader(keys, {})).family is QWEN_IMAGE
    assert QWEN_IMAGE.knows_key("time_text_embed.addition_t_embedding.weight")
    assert QWEN_IMAGE.is_frozen("__index_timestep_zero__")


LISTS = {  # family → short list, what the long list has before and after it
    ZIMAGE: (("NR", "CR", *numbers("B", 30)), ("LLM", "IN"), ("OUT",)),
    QWEN_IMAGE: (numbers("B", 60), ("LLM", "IN"), ("OUT",)),
    QWEN_IMAGE_21: (numbers("B", 32), ("LLM", "IN"), ("OUT",)),
    KREA2: (("TXT", *numbers("B", 28)), ("LLM", "IN"), ("OUT",)),
    ANIMA: (numbers("B", 28), ("LLM", "IN", "ADAPTER"), ("OUT",)),
    ANIMA_40: (numbers("B", 40), ("LLM", "IN", "ADAPTER"), ("OUT",)),
    ANIMA_52: (numbers("B", 52), ("LLM", "IN", "ADAPTER"), ("OUT",)),
}


@pytest.mark.parametrize("family", LISTS, ids=lambda family: family.id)
def test_block_lists(family: Family) -> None:
    short, before, after = LISTS[family]
    assert family.short_blocks == short
    assert family.long_blocks == (*before, *short, *after)
    assert BASE not in family.long_blocks


@pytest.mark.parametrize(
    ("family", "name", "block"),
    [
        (ZIMAGE, "unet.noise_refiner.1.attention.qkv", "NR"),
        (ZIMAGE, "unet.context_refiner.0.feed_forward.w1", "CR"),
        (ZIMAGE, "unet.layers.29.attention.out", "B29"),
        (ZIMAGE, "unet.cap_pad_token", "IN"),
        (ZIMAGE, "unet.final_layer.linear", "OUT"),
        (QWEN_IMAGE, "unet.transformer_blocks.59.attn.to_add_out", "B59"),
        (QWEN_IMAGE, "unet.time_text_embed.timestep_embedder.linear_1", "IN"),
        (QWEN_IMAGE_21, "unet.transformer_blocks.31.img_mlp.gate_up", "B31"),
        (QWEN_IMAGE_21, "unet.modulation.1", "IN"),
        (KREA2, "unet.txtfusion.layerwise_blocks.1.attn.wq", "TXT"),
        (KREA2, "unet.txtfusion.projector", "TXT"),
        (KREA2, "unet.txtmlp.1", "IN"),
        (KREA2, "unet.blocks.27.mlp.down", "B27"),
        (KREA2, "unet.last.modulation.lin", "OUT"),
        (ANIMA, "unet.blocks.27.cross_attn.q_proj", "B27"),
        (ANIMA, "unet.blocks.28.cross_attn.q_proj", None),
        (ANIMA_52, "unet.blocks.51.cross_attn.q_proj", "B51"),
        (ANIMA, "te1.layers.0.self_attn.q_proj", "LLM"),
    ],
)
def test_blocks_of_modules(family: Family, name: str, block: str | None) -> None:
    assert family.block_of_module(name) == block


@each_family
def test_the_manifest_is_of_the_whole_release(family: Family) -> None:
    shapes = (spec.shape for spec in checkpoints.manifest(MANIFESTS[family][0]).values())
    assert sum(map(math.prod, shapes)) == PARAMETERS[family]
