"""What other programs do with adapter files: the rules against what the programs did with the same files."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import torch

import checkpoints
from loralathe import MEMORY, check_lora, checked_programs, convert_lora, in_memory
from loralathe.adapters import PROGRAMS, Loading, check_loading, open_adapter
from loralathe.adapters.loading import denoiser_names
from loralathe.errors import InputError
from loralathe.families import family_by_id

H = 32
MEASURED = [
    # file, program, modules used, modules, refused: by the programs themselves on models without weights
    ("lora_kohya_sdxl_conv", "comfyui", 1052, 1052, False),
    ("lora_lycoris_sdxl_loha_tucker", "comfyui", 1052, 1052, False),
    ("lora_lycoris_sdxl_lokr_decompose_both", "comfyui", 1052, 1052, False),
    ("lora_lycoris_sdxl_glora", "comfyui", 1052, 1052, False),
    ("lora_lycoris_sdxl_ia3", "comfyui", 0, 482, False),
    ("lora_peft_sdxl_A_B", "comfyui", 176, 736, False),  # 1120 of 1472 keys are of no use to it
    ("lora_diffusers_sdxl_down_up", "comfyui", 176, 736, False),
    ("lora_peft_sdxl_A_B", "forge", 0, 736, True),
    ("lora_peft_flux_dreambooth", "comfyui", 390, 390, False),
    ("lora_kohya_flux_clip_t5", "comfyui", 544, 544, False),
    ("lora_kohya_flux_clip_t5", "diffusers", 376, 544, False),
    ("lora_kohya_sdxl_conv_diffusers_names", "diffusers", 1052, 1052, False),
    ("lora_kohya_sd15_conv", "diffusers", 350, 350, False),
    ("lora_lycoris_sdxl_locon_tucker", "diffusers", 0, 1052, True),
    ("lora_lycoris_sdxl_dora", "diffusers", 0, 1052, False),
    ("lora_lycoris_sdxl_lokr_factor8", "diffusers", 0, 1052, True),
    ("lora_peft_flux_all_block_linears", "diffusers", 494, 494, False),
    ("lora_kohya_sd15_linear", "kohya", 264, 264, False),
    ("lora_lycoris_sd15_locon", "kohya", 350, 354, False),
    ("lora_peft_sdxl_A_B", "kohya", 0, 736, False),
]


def tensors(name: str) -> dict[str, torch.Tensor]:
    """Of a manifest, at full size and without bytes of their own."""
    zero = torch.zeros((), dtype=torch.float16)
    return {
        key: torch.tensor(4.0) if key.endswith(".alpha") else zero.expand(spec.shape)
        for key, spec in checkpoints.manifest(name).items()
    }


def loading(given: Mapping[str, torch.Tensor], program: str) -> Loading:
    with open_adapter(in_memory(given), with_weights=True) as adapter:
        return check_loading(adapter, PROGRAMS[program])


@pytest.mark.long
@pytest.mark.quick(12)
@pytest.mark.parametrize(("name", "program", "used", "modules", "refused"), MEASURED)
def test_what_the_programs_did(name: str, program: str, used: int, modules: int, refused: bool) -> None:
    found = loading(tensors(name), program)
    assert (found.used, found.modules, found.refused is not None) == (used, modules, refused)
    assert found.ok == (used == modules)


TABLES = {
    "zimage": "zimage", "qwen-image": "qwen_image", "krea2": "krea2", "anima": "anima",
    "klein4b": "klein4b", "klein9b": "klein9b",
}  # fmt: skip
RARE = re.compile(r"linear1_qkv|single_transformer_blocks.\d+.attn.to_out.0")
"""Names of rows of Klein's single blocks that hardly a trainer writes; the rule is coarser there."""


@pytest.mark.parametrize("name", TABLES)
def test_the_names_that_comfyui_finds_are_those_of_its_own_table(name: str) -> None:
    family = family_by_id(name)
    shapes = checkpoints.manifest(f"ckpt_{TABLES[name]}")
    table = checkpoints.raw_manifest(f"loranames_{TABLES[name]}")
    matrices: dict[str, str] = {}
    for module in family.modules(shapes).values():
        key = module.key.removeprefix("model.diffusion_model.")
        if module.component == "unet" and key.endswith(".weight") and len(shapes[key].shape) == 2:
            matrices[key] = module.name.removeprefix("unet.")
    wanted = {
        raw
        for raw, place in table.items()
        if (place["key"] if isinstance(place, dict) else place) in matrices
    }
    found = {raw for path in matrices.values() for raw in denoiser_names(family, path, "comfyui")}
    assert {raw for raw in found ^ wanted if not RARE.search(raw)} == set()
    assert len(wanted & found) > 800


def part(stem: str, words: str, out: int, width: int, rank: int = 2) -> dict[str, torch.Tensor]:
    up, down = words.split()
    return {f"{stem}.{up}.weight": torch.ones(out, rank), f"{stem}.{down}.weight": torch.ones(rank, width)}


@pytest.mark.parametrize(
    ("stem", "programs"),
    [
        ("lora_unet_double_blocks_0_img_attn_proj", "comfyui forge diffusers kohya"),
        ("diffusion_model.double_blocks.0.img_attn.proj", "comfyui forge"),
        ("double_blocks.0.img_attn.proj", ""),
        ("transformer.transformer_blocks.0.attn.to_out.0", "comfyui forge diffusers"),
        ("base_model.model.transformer_blocks.0.attn.to_out.0", ""),
        ("lycoris_transformer_blocks_0_attn_to_out_0", "comfyui forge"),
        ("lora_transformer_transformer_blocks_0_attn_to_out_0", "comfyui forge"),
        ("transformer_blocks.0.attn.to_out.0", "comfyui forge"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1", "comfyui forge diffusers kohya"),
        ("text_encoder.text_model.encoder.layers.0.mlp.fc1", "comfyui forge diffusers"),
        ("text_encoder.encoder.layers.0.mlp.fc1", "diffusers"),
        ("text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1", "comfyui forge"),
        ("lora_te1_text_model_embeddings_token_embedding", ""),
        ("lora_te2_encoder_block_0_layer_0_SelfAttention_q", "comfyui forge"),
    ],
)
def test_names_of_flux(stem: str, programs: str) -> None:
    words = "lora_up lora_down" if "lora_" in stem or "lycoris_" in stem else "lora_B lora_A"
    anchor = part("lora_unet_single_blocks_0_linear2", "lora_up lora_down", H, 5 * H)
    given = {**part(stem, words, H, H), **anchor}
    found = {
        program
        for program in PROGRAMS
        if not any(
            one.why == "a name that it does not look for" and stem in one.modules
            for one in loading(given, program).findings
        )
    }
    assert found == set(programs.split())


def test_a_scale_in_the_metadata_alone() -> None:
    stem = "transformer.transformer_blocks.0.attn.to_out.0"
    notes = {"lora_adapter_metadata": '{"transformer.lora_alpha": 1, "transformer.r": 2}'}
    given = in_memory(part(stem, "lora_B lora_A", H, H), metadata=notes)
    with open_adapter(given) as adapter:
        comfyui, diffusers = (check_loading(adapter, PROGRAMS[name]) for name in ("comfyui", "diffusers"))
    assert [(one.verdict, one.why) for one in comfyui.findings] == [
        ("wrong", "alpha stands in the metadata, which it does not read")
    ]
    assert diffusers.ok


def test_alphas_that_differ() -> None:
    """docs: measured with diffusers 0.42 against W + alpha/rank·up·down."""
    given = {}
    for number, alpha in enumerate((1.0, 2.0)):
        stem = f"lora_unet_input_blocks_4_1_transformer_blocks_{number}_attn1_to_q"
        given |= {**part(stem, "lora_up lora_down", H, H), f"{stem}.alpha": torch.tensor(alpha)}
    given |= part("lora_te2_text_model_encoder_layers_0_mlp_fc1", "lora_up lora_down", H, H)  # SDXL's
    (found,) = loading(given, "diffusers").findings
    assert (found.verdict, len(found.modules)) == ("wrong", 2)
    assert loading(given, "comfyui").ok


def test_stray_keys() -> None:
    stem = "lora_unet_input_blocks_4_1_proj_in"
    given = part(stem, "lora_up lora_down", H, H)
    given |= {f"bundle_emb.word{number}.clip_l": torch.ones(2, 8) for number in range(13)}
    assert loading(given, "comfyui").refused is None
    assert loading(given, "forge").refused is not None
    assert loading(given, "diffusers").refused is not None


def test_an_attention_of_open_clip_alone() -> None:
    stem = "lora_te2_text_model_encoder_layers_0_self_attn_q_proj"
    found = loading(part(stem, "lora_up lora_down", H, H), "forge")
    assert [one.why for one in found.findings] == ["an attention of OpenCLIP without all of q, k, v and out"]


def test_the_answer_names_what_mends_it() -> None:
    by_program = {one.program: one for one in check_lora(tensors("lora_peft_sdxl_A_B"))}
    assert set(by_program) == set(checked_programs())
    assert (by_program["comfyui"].to, by_program["comfyui"].bake) == ("kohya", False)
    assert by_program["diffusers"].to is None
    (dora,) = check_lora(tensors("lora_lycoris_sdxl_dora"), "diffusers")
    assert (dora.to, dora.bake) == ("diffusers", True)
    with pytest.raises(InputError, match="no program is called 'comfy' here"):
        check_lora(tensors("lora_peft_sdxl_A_B"), "comfy")


def test_traps_of_the_newer_families() -> None:
    """Split q, k and v under `lora_unet_` of Z-Image; `net.` and `transformer.` of Anima."""
    split = {}
    for letter in "qkv":
        split |= part(f"lora_unet_layers_0_attention_to_{letter}", "lora_up lora_down", H, H)
    split |= part("lora_unet_layers_0_feed_forward_w1", "lora_up lora_down", 2 * H, H)
    (found,) = check_lora(split, "comfyui")
    assert (found.used, found.modules, found.to) == (1, 4, "kohya")
    mended = convert_lora(split, "kohya", output=MEMORY).tensors
    (again,) = check_lora(dict(mended), "comfyui")
    assert (again.used, again.modules) == (2, 2)
    for start in ("net.", "transformer."):
        path = "blocks.0.self_attn.q_proj" if start == "net." else "transformer_blocks.0.attn1.to_q"
        given = part(f"{start}{path}", "lora_B lora_A", H, H)
        with open_adapter(in_memory(given), family_by_id("anima")) as adapter:
            assert check_loading(adapter, PROGRAMS["comfyui"]).used == 0
