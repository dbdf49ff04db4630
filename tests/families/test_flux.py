"""Flux against the manifests: every key, both spellings, all module names; and which files are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

import checkpoints
from checkpoints import FakeHeader, Spec
from loralathe.adapters import address_of_raw, canonical_of_raw, detect_adapter
from loralathe.errors import InputError
from loralathe.families import detect_checkpoint
from loralathe.families.flux import FLUX

UNET = "model.diffusion_model."
ALONE = checkpoints.manifest("ckpt_flux_dev")
WHOLE = checkpoints.manifest("ckpt_flux_dev_all_in_one")
TRAINED = ("double_blocks.", "single_blocks.")


def header(tensors: Mapping[str, Spec]) -> FakeHeader:
    return FakeHeader(tensors, {})


def without(tensors: Mapping[str, Spec], unwanted: Callable[[str], bool]) -> dict[str, Spec]:
    return {key: spec for key, spec in tensors.items() if not unwanted(key)}


def test_every_key_is_a_layers_or_has_a_named_rule() -> None:
    assert all(FLUX.knows_key(key) and FLUX.rule_for_key(key) is None for key in ALONE)
    rules = {key: FLUX.rule_for_key(key) for key in WHOLE if FLUX.rule_for_key(key) is not None}
    assert rules == {
        "text_encoders.clip_l.logit_scale": "logit scale, unused in pictures",
        "text_encoders.t5xxl.logit_scale": "logit scale, unused in pictures",
        "text_encoders.clip_l.transformer.text_projection.weight": "CLIP-L projection, unused in pictures",
    }
    assert all(FLUX.knows_key(key) for key in WHOLE.keys() - rules.keys())
    assert Counter(FLUX.component_of_key(key) for key in WHOLE) == {
        "unet": 780, "te1": 198, "te3": 220, "vae": 244,
    }  # fmt: skip


def test_a_transformer_alone_has_the_same_modules_under_shorter_keys() -> None:
    assert {FLUX.modern_key(key) for key in ALONE} == {key for key in WHOLE if key.startswith(UNET)}
    assert all(FLUX.modern_key(key) == key and not FLUX.is_bare(key) for key in WHOLE)
    assert all(FLUX.is_bare(key) for key in ALONE)
    alone, whole = FLUX.modules(ALONE), FLUX.modules(WHOLE)
    assert alone.keys() == {name for name in whole if name.startswith("unet.")}
    for name, module in alone.items():
        assert replace(module, key=UNET + module.key) == whole[name]


@pytest.mark.parametrize("tensors", [ALONE, WHOLE], ids=["alone", "whole"])
def test_the_trainers_names_are_the_flattened_keys(tensors: Mapping[str, Spec]) -> None:
    """sd-scripts trains every linear layer inside the blocks, named by its key."""
    trained = {
        f"lora_unet_{key.removesuffix('.weight').replace('.', '_')}": key
        for key in ALONE
        if key.startswith(TRAINED) and key.endswith(".weight")
    }
    assert len(trained) == 304
    modules = FLUX.modules(tensors)
    for raw, key in trained.items():
        name = FLUX.module_of_kohya(raw)
        assert name is not None
        assert modules[name].key.removeprefix(UNET) == key
        assert modules[name].scope == "linear"
        assert FLUX.kohya_name(name) == raw


def test_blocks_of_keys() -> None:
    found = Counter(FLUX.block_of_key(key) for key in WHOLE)
    assert found == {
        None: 244,
        "CLIP": 198,
        "T5": 220,
        "IN": 16,
        "OUT": 4,
        **{f"D{number:02d}": 24 for number in range(19)},
        **{f"S{number:02d}": 8 for number in range(38)},
    }
    assert FLUX.block_of_key("double_blocks.7.img_attn.norm.key_norm.scale") == "D07"
    assert FLUX.block_of_key(f"{UNET}single_blocks.37.linear1.bias") == "S37"
    assert FLUX.block_of_key("double_blocks.19.img_mod.lin.weight") is None  # more than the lists name
    assert FLUX.block_of_module("te3.encoder.block.23.layer.1.DenseReluDense.wo") == "T5"


def test_keys_of_nothing_in_flux() -> None:
    for key in ("v_pred", "x_embedder.weight", "img_in_weight", "img_input.weight", "time_embed.0.weight"):
        assert FLUX.component_of_key(key) is None
        assert FLUX.modern_key(key) == key


GUIDANCE = ("guidance_in.in_layer.", "guidance_in.out_layer.")


@pytest.mark.parametrize("prefix", ["", UNET])
def test_variants(prefix: str) -> None:
    dev = {prefix + key: spec for key, spec in ALONE.items()}
    found = detect_checkpoint(header(dev))
    assert (found.family, found.variant, found.in_channels) == (FLUX, "dev", 64)
    assert (found.components, found.prediction) == (("unet",), "flow")
    schnell = without(dev, lambda key: key.removeprefix(prefix).startswith(GUIDANCE))
    assert len(dev) - len(schnell) == 4
    assert detect_checkpoint(header(schnell)).variant == "schnell"
    for channels, variant in ((128, "depth or canny"), (384, "fill")):
        wide = dev | {f"{prefix}img_in.weight": Spec((3072, channels))}
        assert detect_checkpoint(header(wide)).variant == variant
    with pytest.raises(InputError, match="this Flux model takes 65 input channels"):
        detect_checkpoint(header(dev | {f"{prefix}img_in.weight": Spec((3072, 65))}))


def test_components_may_be_left_out() -> None:
    for start, left in (("vae.", ("unet", "te1", "te3")), ("text_encoders.t5xxl.", ("unet", "te1", "vae"))):
        found = detect_checkpoint(header(without(WHOLE, lambda key, start=start: key.startswith(start))))
        assert found.components == left


def test_any_depth_is_understood() -> None:
    tiny = checkpoints.tiny_specs("flux-alone")
    assert {key.split(".")[1] for key in tiny if key.startswith("double_blocks.")} == {"0", "1"}
    assert detect_checkpoint(header(tiny)).variant == "dev"


@pytest.mark.parametrize("prefix", ["", UNET])
@pytest.mark.parametrize(
    ("lost", "count"),
    [
        ("double_blocks.18.img_mod.lin.bias", "1 tensor of its transformer is"),
        ("single_blocks.7.", "8 tensors of its transformer are"),
        ("double_blocks.0.txt_attn.norm.", "2 tensors of its transformer are"),
        ("guidance_in.out_layer.", "2 tensors of its transformer are"),
        ("time_in.", "4 tensors of its transformer are"),
    ],
)
def test_what_is_missing_is_counted(lost: str, count: str, prefix: str) -> None:
    left = {prefix + key: spec for key, spec in ALONE.items() if not key.startswith(lost)}
    with pytest.raises(InputError, match=f"this Flux checkpoint is incomplete: {count} missing") as caught:
        detect_checkpoint(header(left), "x.safetensors")
    assert caught.value.where is not None
    assert caught.value.where.startswith(f"x.safetensors: {prefix}{lost.rstrip('.')}")


def test_half_a_model_is_named() -> None:
    half = without(ALONE, lambda key: key.startswith("single_blocks."))
    with pytest.raises(InputError) as caught:
        detect_checkpoint(header(half), "half.safetensors")
    assert caught.value.what == "no known model family; the nearest is Flux"
    assert caught.value.where == "half.safetensors: single_blocks.0.linear1.weight is missing"


@pytest.mark.parametrize(
    "scale",
    [
        "scaled_fp8",
        "model.diffusion_model.scaled_fp8",
        "double_blocks.0.img_mlp.0.scale_weight",
        "double_blocks.0.img_mlp.0.weight.quant_state.bitsandbytes__nf4",
        "double_blocks.0.img_mlp.0.weight.absmax",
    ],
)
def test_quantised_weights_are_refused(scale: str) -> None:
    with pytest.raises(InputError, match="this is a Flux checkpoint with quantised weights") as caught:
        detect_checkpoint(header({**ALONE, scale: Spec((1,), "F32")}), "q.safetensors")
    assert caught.value.where == f"q.safetensors: {scale}"


def test_a_lora_of_clip_alone_may_be_for_sdxl_or_flux() -> None:
    clip = without(checkpoints.manifest("lora_kohya_flux_clip"), lambda key: not key.startswith("lora_te1_"))
    assert FLUX in detect_adapter(header(clip)).families


ROWS = {"qkv": (3072, 3072, 3072), "linear1": (3072, 3072, 3072, 12288)}
"""Rows of the parts of a fused layer at full size."""


def test_names_of_diffusers_agree_with_its_own_conversion() -> None:
    """Every layer of diffusers' transformer is a module, or the rows of one that its converter takes."""
    seen = set()
    names = checkpoints.raw_manifest("map_flux_transformer")
    for key, value in names.items():
        path, _, role = key.rpartition(".")
        entry = value if isinstance(value, dict) else {"original": value}
        for raw in (f"transformer.{path}", f"base_model.model.{path}", f"lycoris_{path.replace('.', '_')}"):
            place = address_of_raw(FLUX, raw)
            assert place is not None, raw
            module = FLUX.module(place.module)
            original = str(entry["original"])
            assert module.key.removeprefix(UNET).rpartition(".")[0] == original.rpartition(".")[0]
            assert place.swapped == entry.get("halves_swapped", False)
            if "rows" not in entry:
                assert place.slot is None
                continue
            rows = ROWS[place.module.rpartition(".")[2]]
            assert place.slot is not None
            assert len(place.ratios) == len(rows)
            start = sum(rows[: place.slot])
            assert entry["rows"] == [start, start + rows[place.slot]]
        if role == "weight":
            seen.add((place.module, place.slot))
    assert len(seen) == sum(key.endswith(".weight") for key in names)


def test_the_trainers_names_are_never_swapped_or_split() -> None:
    for raw in ("lora_unet_final_layer_adaLN_modulation_1", "lora_unet_double_blocks_3_img_attn_qkv"):
        place = address_of_raw(FLUX, raw)
        assert place is not None
        assert (place.slot, place.swapped) == (None, False)


def test_original_names_of_peft() -> None:
    qkv = "double_blocks.3.img_attn.qkv"
    assert canonical_of_raw(FLUX, f"diffusion_model.{qkv}") == f"unet.{qkv}"
    for start in ("", "transformer.", "base_model.model.", "model.diffusion_model."):
        assert canonical_of_raw(FLUX, f"{start}{qkv}") == f"unet.{qkv}"
    for raw in ("double_blocks.3.img_attn.q", "double_blocks.03.img_attn.qkv", "x_embedding"):
        assert canonical_of_raw(FLUX, f"diffusion_model.{raw}") is None


def test_names_of_xlabs() -> None:
    """Its q, k and v of single blocks are the first three sevenths of linear1."""
    for raw, module, slot, ratios in (
        ("double_blocks.7.processor.qkv1", "double_blocks.7.img_attn.qkv", None, ()),
        ("double_blocks.7.processor.proj2", "double_blocks.7.txt_attn.proj", None, ()),
        ("single_blocks.3.processor.qkv", "single_blocks.3.linear1", 0, (3, 4)),
        ("diffusion_model.single_blocks.3.processor.proj", "single_blocks.3.linear2", None, ()),
    ):
        place = address_of_raw(FLUX, raw)
        assert place is not None
        assert (place.module, place.slot, place.ratios) == (f"unet.{module}", slot, ratios)


def test_other_dialects_of_text_encoders() -> None:
    clip, t5 = "te1.text_model.encoder.layers.3.mlp.fc1", "te3.encoder.block.3.layer.1.DenseReluDense.wo"
    assert canonical_of_raw(FLUX, "text_encoder.text_model.encoder.layers.3.mlp.fc1") == clip
    assert canonical_of_raw(FLUX, "text_encoder.encoder.layers.3.mlp.fc1") == clip
    assert canonical_of_raw(FLUX, "text_encoder_2.encoder.block.3.layer.1.DenseReluDense.wo") == t5
    assert canonical_of_raw(FLUX, "lora_te3_encoder_block_3_layer_1_DenseReluDense_wo") == t5
