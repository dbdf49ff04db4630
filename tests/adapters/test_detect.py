"""Recognition of adapters: family by names, dialect, kind of every module; and what errors say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import checkpoints
from loralathe import merge
from loralathe.adapters import (
    canonical_of_raw,
    detect_adapter,
    group_by_module,
    open_adapter,
    split_adapter_key,
)
from loralathe.errors import InputError
from loralathe.families import Family
from loralathe.families.flux import FLUX
from loralathe.families.sd1 import SD1
from loralathe.families.sd2 import SD2
from loralathe.families.sdxl import SDXL

BOTH = (SD1, SD2)  # they share all names
CASES: list[tuple[str, tuple[Family, ...], str, dict[str, int]]] = [
    ("lora_kohya_sd15_linear", BOTH, "kohya", {"lora": 264}),
    ("lora_kohya_sd15_conv", BOTH, "kohya", {"lora": 300, "locon": 50}),
    ("lora_kohya_sd21_linear", BOTH, "kohya", {"lora": 330}),
    ("lora_kohya_sdxl_linear", (SDXL,), "kohya", {"lora": 986}),
    ("lora_kohya_sdxl_unet_only", (SDXL,), "kohya", {"lora": 722}),
    ("lora_kohya_sdxl_conv_diffusers_names", (SDXL,), "kohya", {"lora": 1014, "locon": 38}),
    ("lora_lycoris_sdxl_locon_tucker", (SDXL,), "kohya", {"lora": 1014, "locon-tucker": 38}),
    ("lora_lycoris_sdxl_locon_norm", (SDXL,), "kohya", {"lora": 1014, "norm": 255, "locon": 38}),
    ("lora_lycoris_sdxl_dora", (SDXL,), "kohya", {"lora+dora": 1014, "locon+dora": 38}),
    ("lora_lycoris_sdxl_loha", (SDXL,), "kohya", {"loha": 1052}),
    ("lora_lycoris_sdxl_loha_tucker", (SDXL,), "kohya", {"loha": 1014, "loha-tucker": 38}),
    ("lora_lycoris_sdxl_lokr_factor8", (SDXL,), "kohya", {"lokr": 1052}),
    ("lora_lycoris_sdxl_lokr_factor8_tucker", (SDXL,), "kohya", {"lokr": 1014, "lokr-tucker": 38}),
    ("lora_lycoris_sdxl_lokr_fullmatrix_factor8", (SDXL,), "kohya", {"lokr": 1052}),
    ("lora_lycoris_sdxl_ia3", (SDXL,), "kohya", {"ia3": 482}),
    ("lora_lycoris_sdxl_full", (SDXL,), "kohya", {"full": 1052}),
    ("lora_lycoris_sdxl_glora", (SDXL,), "kohya", {"glora": 1052}),
    ("lora_lycoris_sdxl_diag_oft", (SDXL,), "kohya", {"oft": 1052}),
    ("lora_lycoris_sd15_locon", BOTH, "kohya", {"lora": 302, "locon": 52}),
    ("lora_lycoris_sd15_full", BOTH, "kohya", {"full": 354}),
    ("lora_kohya_flux_unet_only", (FLUX,), "kohya", {"lora": 304}),
    ("lora_kohya_flux_clip", (FLUX,), "kohya", {"lora": 376}),
    ("lora_kohya_flux_clip_t5", (FLUX,), "kohya", {"lora": 544}),
    ("lora_lycoris_flux_lokr_factor8", (FLUX,), "kohya", {"lokr": 304}),
    ("lora_peft_flux_dreambooth", (FLUX,), "peft", {"lora": 390}),
    ("lora_peft_flux_all_block_linears", (FLUX,), "peft", {"lora": 494}),
    ("lora_diffusers_sdxl_down_up", (SDXL,), "diffusers", {"lora": 736}),
    ("lora_diffusers_sd15_down_up", BOTH, "diffusers", {"lora": 176}),
    ("lora_peft_sdxl_A_B", (SDXL,), "peft", {"lora": 736}),
    ("lora_peft_sdxl_unet_all_layers", (SDXL,), "peft", {"lora": 750, "locon": 38}),
    ("lora_peft_sdxl_dora", (SDXL,), "peft", {"lora+dora": 560}),
]


# q, k and v (and the MLP) of one layer: several names of PEFT for one module.
FUSED = {
    "lora_peft_flux_dreambooth": 19 * 8 + 38 + 48,
    "lora_peft_flux_all_block_linears": 304,
}


@pytest.mark.parametrize(("name", "families", "dialect", "kinds"), CASES, ids=[case[0] for case in CASES])
def test_every_dialect(name: str, families: tuple[Family, ...], dialect: str, kinds: dict[str, int]) -> None:
    found = detect_adapter(checkpoints.header(name))
    assert found.families == families
    assert found.dialect == dialect
    assert Counter(found.kinds.values()) == kinds
    assert found.unmatched == ()
    assert found.unrecognized_keys == ()
    assert len(found.names) == sum(kinds.values())
    assert len(set(found.names.values())) == FUSED.get(name, len(found.names))


def test_other_families_are_named() -> None:
    name = "lora_prior_unet_down_blocks_0_0_attention_to_q"
    lora = {
        f"{name}.lora_up.weight": checkpoints.Spec((8, 4)),
        f"{name}.lora_down.weight": checkpoints.Spec((4, 8)),
    }
    with pytest.raises(InputError, match="this is a LoRA for Stable Cascade"):
        detect_adapter(checkpoints.FakeHeader(lora, {}))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("ckpt_sd15", r"this is a checkpoint \(SD 1\.5\), not a LoRA"),
        ("ckpt_sdxl_base", r"this is a checkpoint \(SDXL\), not a LoRA"),
        ("ckpt_flux_dev", r"this is a checkpoint \(Flux\), not a LoRA"),
        ("ckpt_sd35_medium", r"this is a checkpoint \(SD 3\.5 medium\), not a LoRA"),
        ("extras_sd1_scheduler_buffers", "this file is not a LoRA"),
    ],
)
def test_a_checkpoint_given_as_a_lora(name: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        detect_adapter(checkpoints.header(name))


@pytest.mark.parametrize(
    ("shapes", "what", "fix"),
    [
        ({"emb_params": (2, 768)}, "a textual-inversion embedding", "a word for prompts"),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "a textual-inversion embedding", "a word for prompts"),
        ({"unet:0:up": (8, 4), "unet:0:down": (4, 8)}, "a LoRA of lora_diffusion", "extract a LoRA from"),
    ],
)
def test_what_people_keep_among_their_loras(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], what: str, fix: str
) -> None:
    """Nobody is sent to weighted-sum with it."""
    base, path = tmp_path / "base.safetensors", tmp_path / "x.safetensors"
    checkpoints.write_sparse(base, checkpoints.tiny_specs("sd1"))
    checkpoints.write_sparse(path, {name: checkpoints.Spec(shape) for name, shape in shapes.items()})
    for use in (lambda: open_adapter(path), lambda: merge(base, path, output=tmp_path / "out.safetensors")):
        with pytest.raises(InputError, match=f"this is {what}") as caught:
            use()
        assert fix in str(caught.value.fix)


def test_unknown_names_are_shown() -> None:
    tensors = {f"lora_audio_layer_{i}.lora_up.weight": checkpoints.Spec((4, 2)) for i in range(5)}
    with pytest.raises(InputError, match="for no family known here") as caught:
        detect_adapter(checkpoints.FakeHeader(tensors, {}), "odd.safetensors")
    shown = "lora_audio_layer_0, lora_audio_layer_1, lora_audio_layer_2 and 2 more"
    assert caught.value.where == f"odd.safetensors: {shown}"


def test_unmatched_modules_and_unrecognized_keys_are_listed() -> None:
    tensors = dict(checkpoints.manifest("lora_kohya_sdxl_linear"))
    tensors["lora_unet_output_blocks_99_1_proj_in.lora_up.weight"] = checkpoints.Spec((4, 2))
    tensors["bundle_emb.word.clip_l"] = checkpoints.Spec((4, 2))
    found = detect_adapter(checkpoints.FakeHeader(tensors, {}))
    assert found.unmatched == ("lora_unet_output_blocks_99_1_proj_in",)
    assert found.unrecognized_keys == ()
    assert group_by_module(tensors).embeddings == {"word": ("bundle_emb.word.clip_l",)}


@pytest.mark.parametrize(
    ("key", "split"),
    [
        ("lora_unet_x.lora_up.weight", ("lora_unet_x", "lora_up.weight")),
        ("lora_unet_x.alpha", ("lora_unet_x", "alpha")),
        ("unet.a.b.lora_A.default.weight", ("unet.a.b", "lora_A.weight")),
        ("unet.a.b.lora_A.weight", ("unet.a.b", "lora_A.weight")),
        ("unet.a.lora_magnitude_vector.default.weight", ("unet.a", "lora_magnitude_vector")),
        ("unet.a.processor.to_q_lora.down.weight", ("unet.a.processor.to_q", "lora.down.weight")),
        ("single_blocks.0.processor.qkv_lora.up.weight", ("single_blocks.0.processor.qkv", "lora.up.weight")),
        (
            "double_blocks.0.processor.qkv_lora2.up.weight",
            ("double_blocks.0.processor.qkv2", "lora.up.weight"),
        ),
        ("model.diffusion_model.input_blocks.0.0.weight", None),
        ("alpha", None),
    ],
)
def test_keys_split_into_module_and_part(key: str, split: tuple[str, str] | None) -> None:
    assert split_adapter_key(key) == split


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("unet.down_blocks.1.attentions.0.proj_in", "unet.input_blocks.4.1.proj_in"),
        (
            "unet.mid_block.attentions.0.transformer_blocks.9.attn1.processor.to_out",
            "unet.middle_block.1.transformer_blocks.9.attn1.to_out.0",
        ),
        ("diffusion_model.input_blocks.4.1.proj_in", "unet.input_blocks.4.1.proj_in"),
        ("base_model.model.conv_in", "unet.input_blocks.0.0"),
        ("text_encoder.encoder.layers.0.mlp.fc1", "te1.text_model.encoder.layers.0.mlp.fc1"),
        ("text_encoder_2.text_projection", "te2.text_projection"),
        ("lycoris_down_blocks_1_attentions_0_proj_in", "unet.input_blocks.4.1.proj_in"),
        ("transformer.transformer_blocks.0.attn.to_q", None),
        ("diffusion_model.input_blocks.4.7.proj_in", None),
    ],
)
def test_other_spellings_of_sdxl(raw: str, name: str | None) -> None:
    assert canonical_of_raw(SDXL, raw) == name


def test_grouping_keeps_every_key_once() -> None:
    keys = checkpoints.manifest("lora_lycoris_sdxl_ia3").keys()
    grouped = group_by_module(keys)
    assert sorted(key for parts in grouped.parts.values() for key in parts.values()) == sorted(keys)
