"""Names of every dialect, against maps that are not ours: the same layer, and the same rows of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

import checkpoints
from checkpoints import write_safetensors
from loralathe import in_memory, inspect
from loralathe.adapters import (
    address_of_raw,
    canonical_of_raw,
    delta,
    detect_adapter,
    home_of,
    load_factors,
    open_adapter,
)
from loralathe.families import Family
from loralathe.families.flux import FLUX
from loralathe.families.sd1 import SD1
from loralathe.families.sdxl import SDXL

UNET = "model.diffusion_model."
OLD = re.compile(r"(attn[12])\.(to_q|to_k|to_v|to_out)(?:\.0)?$")


def paths(family: Family) -> Iterator[tuple[str, str]]:
    """(original path, diffusers path) of every layer of a U-Net, by diffusers' own conversion."""
    found: Mapping[str, str] = checkpoints.raw_manifest(f"map_{family.id.replace('1', '15')}_unet")
    for original, diffusers in found.items():
        if original.endswith(".weight"):
            yield original.removeprefix(UNET)[:-7], diffusers[:-7]


def dotted_names(original: str, diffusers: str) -> Iterator[str]:
    """ComfyUI's (`diffusion_model.`), diffusers' with and without `unet.`, PEFT's, the oldest ones."""
    for start in ("diffusion_model.", "model.diffusion_model.", "", "base_model.model."):
        yield start + original
    for path in dict.fromkeys((diffusers, OLD.sub(r"\1.processor.\2", diffusers))):
        for start in ("unet.", "", "base_model.model.", "unet.base_model.model.", "diffusion_model."):
            yield start + path


@pytest.mark.parametrize("family", [SD1, SDXL], ids=["sd1", "sdxl"])
def test_every_name_of_a_unet(family: Family) -> None:
    for original, diffusers in paths(family):
        wanted = f"unet.{original}"
        flat = [f"{start}{path.replace('.', '_')}" for start in ("lora_unet_", "lycoris_", "oft_unet_")
                for path in (original, diffusers)]  # fmt: skip
        for raw in (*dotted_names(original, diffusers), *flat):
            assert canonical_of_raw(family, raw) == wanted, raw


CLIP = "text_model.encoder.layers.3.self_attn.q_proj"
T5 = "encoder.block.3.layer.0.SelfAttention.q"


@pytest.mark.parametrize(
    ("family", "raw", "name"),
    [
        (SD1, f"lora_te1_{CLIP.replace('.', '_')}", f"te1.{CLIP}"),
        (SD1, f"text_encoders.clip_l.transformer.{CLIP}", f"te1.{CLIP}"),
        (SD1, f"base_model.model.{CLIP}", f"te1.{CLIP}"),
        (SDXL, f"text_encoders.clip_l.transformer.{CLIP}", f"te1.{CLIP}"),
        (SDXL, f"text_encoders.clip_g.transformer.{CLIP}", f"te2.{CLIP}"),
        (SDXL, f"text_encoder_2.base_model.model.{CLIP}", f"te2.{CLIP}"),
        (SDXL, f"base_model.model.{CLIP}", None),  # of either
        (FLUX, f"text_encoders.clip_l.transformer.{CLIP}", f"te1.{CLIP}"),
        (FLUX, f"text_encoders.t5xxl.transformer.{T5}", f"te3.{T5}"),
        (FLUX, f"lora_te2_{T5.replace('.', '_')}", f"te3.{T5}"),
        (FLUX, f"lora_te3_{T5.replace('.', '_')}", f"te3.{T5}"),
        (FLUX, "lora_transformer_transformer_blocks_0_attn_to_out_0", "unet.double_blocks.0.img_attn.proj"),
    ],
)
def test_names_of_text_encoders(family: Family, raw: str, name: str | None) -> None:
    assert canonical_of_raw(family, raw) == name


def test_the_folder_of_a_pipeline_names_the_network() -> None:
    for home, name in (("text_encoder", "te1"), ("text_encoder_2", "te2")):
        assert canonical_of_raw(SDXL, f"base_model.model.{CLIP}", home) == f"{name}.{CLIP}"
    assert home_of("sdxl/text_encoder_2/adapter_model.safetensors") == "text_encoder_2"
    assert home_of("sdxl/text_encoder_2/default/adapter_model.safetensors") == "text_encoder_2"
    assert home_of("text_encoder/x/y/adapter_model.safetensors") == home_of(None) == ""


def pair(stem: str, up: str, down: str, out: int, width: int, rank: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(hash(stem) % 1000)
    return {
        f"{stem}{up}": torch.randn(out, rank, generator=generator),
        f"{stem}{down}": torch.randn(rank, width, generator=generator),
    }


def test_xlabs_factors_are_rows_of_the_fused_layers(tmp_path: Path) -> None:
    width = 8
    ends = (".up.weight", ".down.weight")
    tensors = {
        **pair("double_blocks.0.processor.qkv_lora2", *ends, 3 * width, width),
        **pair("double_blocks.0.processor.proj_lora1", *ends, width, width),
        **pair("single_blocks.1.processor.qkv_lora", *ends, 3 * width, width),
        **pair("single_blocks.1.processor.proj_lora", *ends, width, 5 * width),
    }
    path = write_safetensors(tmp_path / "x.safetensors", tensors)
    assert inspect(path).layout == "xlabs"
    with open_adapter(path) as adapter:
        assert adapter.family is FLUX
        assert not adapter.unmatched
        for name, stem, out in (
            ("double_blocks.0.txt_attn.qkv", "double_blocks.0.processor.qkv_lora2", 3 * width),
            ("double_blocks.0.img_attn.proj", "double_blocks.0.processor.proj_lora1", width),
            ("single_blocks.1.linear1", "single_blocks.1.processor.qkv_lora", 7 * width),
            ("single_blocks.1.linear2", "single_blocks.1.processor.proj_lora", width),
        ):
            module = adapter.modules[f"unet.{name}"]
            made = delta(load_factors(adapter, module, torch.float64), module.shape)
            wanted = tensors[f"{stem}{ends[0]}"].double() @ tensors[f"{stem}{ends[1]}"].double()
            assert torch.allclose(made[: len(wanted)], wanted, atol=1e-12)
            assert made.shape[0] == out
            assert not made[len(wanted) :].any()


@pytest.mark.parametrize(
    ("dialect", "stem", "ends"),
    [
        ("kohya", "lora_unet_double_blocks_0_img_mlp_0", (".lora_up.weight", ".lora_down.weight")),
        ("lycoris", "lycoris_single_transformer_blocks_0_proj_out", (".lora_up.weight", ".lora_down.weight")),
        ("comfyui", "diffusion_model.double_blocks.0.img_mlp.0", (".lora_up.weight", ".lora_down.weight")),
        ("original", "diffusion_model.double_blocks.0.img_mlp.0", (".lora_B.weight", ".lora_A.weight")),
        ("original", "double_blocks.0.img_mlp.0", (".lora_B.weight", ".lora_A.weight")),
        ("original", "base_model.model.double_blocks.0.img_mlp.0", (".lora_B.weight", ".lora_A.weight")),
        (
            "peft",
            "transformer.single_transformer_blocks.0.proj_out",
            (".lora_B.hina.weight", ".lora_A.hina.weight"),
        ),
        (
            "peft",
            "base_model.model.single_transformer_blocks.0.proj_out",
            (".lora_B.weight", ".lora_A.weight"),
        ),
        (
            "diffusers",
            "transformer.single_transformer_blocks.0.proj_out",
            (".lora.up.weight", ".lora.down.weight"),
        ),
    ],
)
def test_the_dialect_is_told(dialect: str, stem: str, ends: tuple[str, str]) -> None:
    found = inspect(in_memory(pair(stem, *ends, 16, 4)))
    assert (found.family, found.layout) == ("flux", dialect)


def test_a_text_encoder_alone_is_of_the_family_whose_trainers_call_it_so() -> None:
    raw = f"lora_te1_{CLIP.replace('.', '_')}"
    tensors = pair(raw, ".lora_up.weight", ".lora_down.weight", 8, 8)
    shapes = {key: checkpoints.Spec(tuple(tensor.shape)) for key, tensor in tensors.items()}
    assert SD1 not in detect_adapter(checkpoints.FakeHeader(shapes, {})).families
    assert address_of_raw(SD1, raw) is not None


def test_a_norm_called_scale_is_no_scale_of_a_lora(tmp_path: Path) -> None:
    """BFL's control LoRAs hold whole norms beside their factors."""
    tensors = pair("double_blocks.0.img_mlp.0", ".lora_B.weight", ".lora_A.weight", 16, 4)
    tensors["single_blocks.0.norm.key_norm.scale"] = torch.ones(4)
    with open_adapter(write_safetensors(tmp_path / "c.safetensors", tensors)) as adapter:
        assert adapter.unmatched == ("single_blocks.0.norm.key_norm.scale",)


def test_embeddings_in_the_file_are_told_and_change_nothing(tmp_path: Path) -> None:
    raw = "lora_unet_input_blocks_4_1_proj_in"
    tensors = pair(raw, ".lora_up.weight", ".lora_down.weight", 8, 8)
    tensors |= {f"bundle_emb.hina.{part}": torch.ones(2, 8) for part in ("clip_l", "clip_g")}
    path = write_safetensors(tmp_path / "e.safetensors", tensors)
    found = inspect(path).adapter
    assert found is not None
    assert (found.embeddings, found.unmatched) == (("hina",), ())
