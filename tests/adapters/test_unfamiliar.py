"""Adapters whose names fit no family, or two."""

from __future__ import annotations

import pytest
import torch

import checkpoints
from checkpoints import FakeHeader, Spec
from loralathe import MEMORY, convert_lora, resize
from loralathe.adapters import detect_adapter
from loralathe.errors import InputError
from loralathe.families import family_by_id


def lora(*modules: str) -> FakeHeader:
    return FakeHeader(
        {f"{name}.lora_{end}.weight": Spec((8, 8)) for name in modules for end in ("up", "down")}, {}
    )


@pytest.mark.parametrize(
    ("module", "label", "names"),
    [
        (
            "lora_unet_double_blocks_0_strange",
            "Flux",
            "lora_unet_double_blocks_0_img_mod_lin or diffusion_model.dou",
        ),
        (
            "mine.single_blocks.4.other",
            "Flux",
            "lora_unet_double_blocks_0_img_mod_lin or diffusion_model.double",
        ),
        ("mine.joint_blocks.4.x_block.other", "SD 3 medium", "lora_unet_joint_blocks_23_context_block"),
        ("lora_unet_output_blocks_3_2_strange", "SD 1.5", "lora_unet_down_blocks_0_attentions_0_proj_in or"),
    ],
)
def test_the_nearest_family_is_named(module: str, label: str, names: str) -> None:
    with pytest.raises(InputError) as caught:
        detect_adapter(lora(module, f"{module}_2"), "x.safetensors")
    assert caught.value.what == (
        f"the modules of this LoRA have unknown names; the nearest known ones are those of {label}"
    )
    assert caught.value.where == f"x.safetensors: {module}, {module}_2"
    assert caught.value.fix is not None
    assert caught.value.fix.startswith(f"{label} has names such as {names}")
    kohya = caught.value.fix.split("such as ")[1].split(" or ")[0]
    families = detect_adapter(lora(kohya)).families
    assert label in {family.label for family in families}


def test_names_without_any_blocks() -> None:
    with pytest.raises(InputError, match="this LoRA is for no family known here"):
        detect_adapter(lora("lora_unet_strange"))


@pytest.mark.parametrize("base", [None, "flux", "sdxl"])
def test_two_families_in_one_file(base: str | None) -> None:
    both = {
        **checkpoints.manifest("lora_kohya_sdxl_unet_only"),
        **checkpoints.manifest("lora_kohya_flux_unet_only"),
    }
    expected = family_by_id(base) if base else None
    with pytest.raises(InputError) as caught:
        detect_adapter(FakeHeader(both, {}), "both.safetensors", expected)
    assert caught.value.what == "the modules of this LoRA are of two model families, SDXL and Flux"
    assert caught.value.where is not None
    assert "(SDXL, 722), lora_unet_double_blocks_0_img_attn_proj (Flux, 304)" in caught.value.where


def test_a_few_names_of_nobody_are_no_second_family() -> None:
    tensors = {**checkpoints.manifest("lora_kohya_sdxl_unet_only")} | dict(
        lora("lora_unet_strange_1").tensors
    )
    assert detect_adapter(FakeHeader(tensors, {})).unmatched == ("lora_unet_strange_1",)


def attention(
    *blocks: int, width: int = 64, names: tuple[str, ...] = ("to_q", "to_k", "to_v")
) -> dict[str, torch.Tensor]:
    """What diffusers' scripts train by default, in these blocks."""
    found = {}
    for block in blocks:
        for name in ("to_q", "to_k", "to_v"):
            start = f"transformer.transformer_blocks.{block}.attn.{name}"
            found[f"{start}.lora_A.weight"] = torch.randn(2, width)
            found[f"{start}.lora_B.weight"] = torch.randn(width, 2)
    return found


def test_a_lora_that_fits_several_families_is_not_guessed() -> None:
    """Flux and SD 3 keep q, k and v in one tensor each, Qwen-Image apart: the names in a new file differ."""
    lora = attention(0, 1)
    fits = "this LoRA fits SD 3 medium, Flux, Qwen-Image"
    with pytest.raises(InputError, match=fits) as caught:
        convert_lora(lora, "kohya", output=MEMORY)
    assert "--to kohya --family sd3 (sd3, flux, qwen-image" in caught.value.fix
    with pytest.raises(InputError, match=fits):
        resize(lora, rank=1, output=MEMORY)
    for family, start in (
        ("sd35m", "lora_unet_joint_blocks_0_x_block_attn_qkv"),
        ("flux", "lora_unet_double_blocks_0_img_attn_qkv"),
        ("qwen-image", "lora_unet_transformer_blocks_0_attn_to_q"),
    ):
        made = dict(convert_lora(lora, "kohya", family=family, output=MEMORY).tensors)
        assert f"{start}.lora_up.weight" in made
        assert resize(made, rank=1, output=MEMORY)
    with pytest.raises(InputError, match="no model family"):
        convert_lora(lora, "kohya", family="flix", output=MEMORY)


def test_the_last_block_tells() -> None:
    """24 blocks are those of SD 3 and SD 3.5 medium, which call their layers alike; 19 those of Flux."""
    for count, start in ((24, "lora_unet_joint_blocks_"), (19, "lora_unet_double_blocks_")):
        made = convert_lora(attention(*range(count)), "kohya", output=MEMORY).tensors
        assert all(name.startswith(start) for name in made)
