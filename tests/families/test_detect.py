"""Recognition of checkpoints: by names and ranks, at any width and depth; and what errors say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

import checkpoints
from checkpoints import FakeHeader, Spec
from loralathe.errors import InputError
from loralathe.families import FAMILIES, Family, detect_checkpoint
from loralathe.families.flux import FLUX
from loralathe.families.sd1 import SD1
from loralathe.families.sd2 import SD2
from loralathe.families.sd3 import SD35_MEDIUM
from loralathe.families.sdxl import SDXL
from loralathe.families.sdxl_refiner import SDXL_REFINER

UNET = "model.diffusion_model."
ALL_PARTS = {
    SD1: ("unet", "te1", "vae"),
    SD2: ("unet", "te1", "vae"),
    SDXL: ("unet", "te1", "te2", "vae"),
    FLUX: ("unet", "te1", "te3", "vae"),
    SDXL_REFINER: ("unet", "te2", "vae"),
    SD35_MEDIUM: ("unet", "te1", "te2", "te3", "vae"),
}


def header(tensors: Mapping[str, Spec], **metadata: str) -> FakeHeader:
    return FakeHeader(tensors, metadata)


def without(name: str, unwanted: Callable[[str], bool]) -> dict[str, Spec]:
    return {key: spec for key, spec in checkpoints.manifest(name).items() if not unwanted(key)}


@pytest.mark.parametrize(
    ("name", "family", "variant", "channels"),
    [
        ("sd1", SD1, "base", 4),
        ("sd1-inpainting", SD1, "inpainting", 9),
        ("sd2", SD2, "base", 4),
        ("sdxl", SDXL, "base", 4),
        ("flux", FLUX, "dev", 64),
        ("sd35m", SD35_MEDIUM, "base", 16),
        ("sdxl-refiner", SDXL_REFINER, "base", 4),
    ],
)
@pytest.mark.parametrize("divisor", [1, 16, 64])
def test_families_at_any_width(name: str, family: Family, variant: str, channels: int, divisor: int) -> None:
    found = detect_checkpoint(header(checkpoints.tiny_specs(name, divisor)))
    assert found.family is family
    assert (found.layout, found.variant, found.in_channels) == ("original", variant, channels)
    assert found.components == ALL_PARTS[family]


def test_instruct_pix2pix_and_unknown_input_channels() -> None:
    tensors = dict(checkpoints.manifest("ckpt_sd15"))
    tensors[f"{UNET}input_blocks.0.0.weight"] = Spec((320, 8, 3, 3))
    assert detect_checkpoint(header(tensors)).variant == "instruct-pix2pix"
    tensors[f"{UNET}input_blocks.0.0.weight"] = Spec((320, 5, 3, 3))
    with pytest.raises(InputError, match="takes 5 input channels"):
        detect_checkpoint(header(tensors))


def test_a_shallow_sdxl_is_sdxl() -> None:
    def deep(key: str) -> bool:
        numbers = [int(token) for token in key.split(".") if token.isdigit()]
        if "transformer_blocks." in key:
            return ".transformer_blocks.0." not in key
        return (".encoder.layers." in key and numbers[1] >= 3) or ("resblocks" in key and numbers[1] >= 10)

    tensors = without("ckpt_sdxl_base", deep)
    assert detect_checkpoint(header(tensors)).family is SDXL
    modules = SDXL.modules(tensors)
    assert sum(m.scope == "linear" for m in modules.values()) == 11 * (2 + 10) + 3 * 6 + 10 * 6
    assert all(SDXL.module_of_kohya(SDXL.kohya_name(n)) == n for n in modules if not n.startswith("vae"))


SMALLER = {
    "SSD-1B, an SDXL with fewer layers": r"input_blocks\.[78]\.1\.transformer_blocks\.[4-9]",
    "Segmind Vega, an SDXL with fewer layers": r"blocks\.\d\.1\.transformer_blocks\.[1-9]",
}
"""The second half of their middle is missing, too."""


@pytest.mark.parametrize("what", SMALLER)
def test_smaller_models_are_no_damaged_ones(what: str) -> None:
    left_out = re.compile(rf"middle_block\.[12]\.|{SMALLER[what]}")
    small = without("ckpt_sdxl_base", lambda key: bool(left_out.search(key)))
    with pytest.raises(InputError, match=f"this is {what}"):
        detect_checkpoint(header(small))


def test_one_resnet_in_each_level_is_koala() -> None:
    keys = ("input_blocks.0.0", "input_blocks.3.1.proj_in", "input_blocks.5.1.proj_in", "label_emb.0.0")
    with pytest.raises(InputError, match="this is KOALA, an SDXL with one resnet in each level"):
        detect_checkpoint(header({f"{UNET}{key}.weight": Spec((64, 64)) for key in keys}))


def test_a_damaged_model_is_named() -> None:
    half = without("ckpt_sdxl_base", lambda key: "middle_block.1." in key)
    with pytest.raises(InputError, match="this SDXL checkpoint is incomplete"):
        detect_checkpoint(header(half))


def test_a_file_of_two_families_is_none() -> None:
    both = {**checkpoints.manifest("ckpt_sdxl_base")}
    both |= {f"{UNET}{key}": spec for key, spec in checkpoints.manifest("ckpt_flux_dev").items()}
    with pytest.raises(InputError, match="the tensors of two model families, SDXL and Flux") as caught:
        detect_checkpoint(header(both), "both.safetensors")
    assert caught.value.where == (
        f"both.safetensors: {UNET}input_blocks.0.0.weight (SDXL), {UNET}img_in.weight (Flux)"
    )


@pytest.mark.parametrize("missing", ["first_stage_model.", "conditioner.embedders.1."])
def test_components_may_be_left_out(missing: str) -> None:
    found = detect_checkpoint(header(without("ckpt_sdxl_base", lambda key: key.startswith(missing))))
    assert found.family is SDXL
    assert len(found.components) == 3


@pytest.mark.parametrize(
    ("extra", "metadata", "prediction", "source"),
    [
        ((), {}, "epsilon", "SDXL default, no v-prediction mark in the file"),
        (("v_pred", "ztsnr"), {}, "v", "the file carries the mark v_pred"),
        (("edm_vpred.sigma_max", "v_pred"), {}, "edm-v", "the file carries the mark edm_vpred.sigma_max"),
        (("edm_mean", "edm_std"), {}, "edm", "the file carries the mark edm_mean"),
        ((), {"modelspec.prediction_type": "v"}, "v", "metadata modelspec.prediction_type"),
        (("v_pred",), {"modelspec.predict_key": "epsilon"}, "v", "the file carries the mark v_pred"),
    ],
)
def test_prediction_of_sdxl(
    extra: tuple[str, ...], metadata: dict[str, str], prediction: str, source: str
) -> None:
    tensors = {**checkpoints.manifest("ckpt_sdxl_base"), **dict.fromkeys(extra, Spec((0,)))}
    found = detect_checkpoint(FakeHeader(tensors, metadata))
    assert (found.prediction, found.prediction_source) == (prediction, source)


def test_prediction_of_sd2_needs_the_weights() -> None:
    found = detect_checkpoint(checkpoints.header("ckpt_sd21_768v"))
    assert found.prediction is None
    assert found.prediction_source == "unknown from header: only the weights can tell"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("diffusers_transformer_flux", "a Flux transformer in the diffusers layout"),
        ("diffusers_transformer_sd35_medium", "an SD 3 or SD 3.5 transformer in the diffusers layout"),
        ("diffusers_unet_sd15", "a U-Net alone in the diffusers layout (a file of a diffusers folder)"),
        ("diffusers_unet_sdxl", "a U-Net alone in the diffusers layout (a file of a diffusers folder)"),
        ("diffusers_vae_sd", "a VAE alone in the diffusers layout (a file of a diffusers folder)"),
        ("part_flux_vae", "a VAE alone"),
        ("diffusers_te_clip_l", "a text encoder alone"),
        ("diffusers_te2_sdxl", "a text encoder alone"),
        ("part_clip_g_hf", "a text encoder alone"),
        ("part_t5xxl", "a T5 text encoder alone"),
    ],
)
def test_other_files_are_named(name: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        detect_checkpoint(checkpoints.header(name), "x.safetensors")
    assert caught.value.what == f"this is {what}, not a supported checkpoint"
    assert caught.value.where == "x.safetensors"
    assert caught.value.fix


def test_a_bare_unet_is_named() -> None:
    bare = {
        key.removeprefix(UNET): spec
        for key, spec in checkpoints.manifest("ckpt_sdxl_base").items()
        if key.startswith(UNET)
    }
    with pytest.raises(InputError, match="a U-Net alone, without the prefix"):
        detect_checkpoint(header(bare))


def test_a_checkpoint_without_its_unet_is_named() -> None:
    with pytest.raises(InputError, match="this is a checkpoint without its U-Net"):
        detect_checkpoint(header(without("ckpt_sdxl_base", lambda key: key.startswith(UNET))))


ADAPTERS = sorted(path.name.removesuffix(".json.gz") for path in checkpoints.MANIFESTS.glob("lora_*.json.gz"))


@pytest.mark.quick(4)
@pytest.mark.parametrize("name", ADAPTERS)
def test_a_lora_given_as_a_checkpoint(name: str) -> None:
    with pytest.raises(InputError, match=r"this is a LoRA \(an adapter\), not a checkpoint"):
        detect_checkpoint(checkpoints.header(name))


def test_the_nearest_family_is_named_with_what_is_missing() -> None:
    def upper_half(key: str) -> bool:
        return key.startswith(f"{UNET}output_blocks.")

    with pytest.raises(InputError) as caught:
        detect_checkpoint(header(without("ckpt_sdxl_base", upper_half)), "half.safetensors")
    assert str(caught.value) == (
        "no known model family; the nearest is SDXL\n"
        f"  where: half.safetensors: {UNET}output_blocks.8.0.in_layers.2.weight is missing\n"
        "  fix:   check that the file is complete and a base model, not a part of one"
    )


def test_a_wrong_rank_is_said() -> None:
    tensors = dict(checkpoints.manifest("ckpt_sd15"))
    key = f"{UNET}output_blocks.11.1.proj_out.weight"
    tensors[key] = replace(tensors[key], shape=(320,))
    with pytest.raises(InputError, match="has 1 axis, not 4"):
        detect_checkpoint(header(tensors))


@pytest.mark.parametrize("family", [SD1, SD2, SDXL], ids=lambda family: family.id)
def test_missing_unet_tensors_are_counted(family: Family) -> None:
    name = {SD1: "ckpt_sd15", SD2: "ckpt_sd21_768v", SDXL: "ckpt_sdxl_base"}[family]
    lost = without(name, lambda key: key.startswith(f"{UNET}middle_block.2.") and key.endswith(".weight"))
    with pytest.raises(InputError, match=r"is incomplete: 5 tensors of its U-Net are missing"):
        detect_checkpoint(header(lost))
    biases = without(name, lambda key: key.startswith(f"{UNET}middle_block.2.") and key.endswith(".bias"))
    with pytest.raises(InputError, match=r"is incomplete: 5 tensors of its U-Net are missing"):
        detect_checkpoint(header(biases))
    one = without(name, lambda key: key == f"{UNET}out.2.bias")
    with pytest.raises(InputError, match=r"is incomplete: 1 tensor of its U-Net is missing"):
        detect_checkpoint(header(one))


@pytest.mark.parametrize("tensors", [{}, {"weight": Spec((3,))}])
def test_files_that_are_nothing_of_the_kind(tensors: dict[str, Spec]) -> None:
    with pytest.raises(InputError, match=r"not a checkpoint of SD 1\.5, SD 2, SDXL"):
        detect_checkpoint(header(tensors))


def test_a_file_of_another_kind_shows_a_few_of_its_names() -> None:
    with pytest.raises(InputError) as caught:
        detect_checkpoint(header({f"layer.{i}.weight": Spec((3,)) for i in range(9)}), "x.safetensors")
    assert caught.value.where == "x.safetensors: layer.0.weight, layer.1.weight, layer.2.weight and 6 more"


def test_families_exclude_each_other() -> None:
    files = [path.name.partition(".")[0] for path in checkpoints.MANIFESTS.glob("ckpt_*")]
    assert len(files) > len(FAMILIES)
    for name in files:
        assert sum(family.signature.matches(checkpoints.manifest(name)) for family in FAMILIES) == 1, name


def test_a_stray_adapter_key_does_not_hide_a_checkpoint() -> None:
    stray = {"lora_unet_conv_in.lora_up.weight": Spec((4, 2))}
    assert detect_checkpoint(header({**checkpoints.manifest("ckpt_sd15"), **stray})).family is SD1
