"""Names against the manifests: sets of kohya names, both spellings, blocks, round trips."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import checkpoints
from loralathe.adapters.module import LARGEST
from loralathe.families import FAMILIES, Family
from loralathe.families.chroma import CHROMA
from loralathe.families.flux import FLUX
from loralathe.families.flux2 import KLEIN_4B
from loralathe.families.sd1 import SD1
from loralathe.families.sd2 import SD2
from loralathe.families.sd3 import SD35_MEDIUM
from loralathe.families.sdxl import SDXL

CHECKPOINTS = {family: checkpoints.MANIFEST_OF[family.id] for family in FAMILIES}
MODULES = {family: family.modules(checkpoints.manifest(name)) for family, name in CHECKPOINTS.items()}


PROJECTION = "CLIP-L projection, unused in pictures"


def adapter_modules(name: str) -> set[str]:
    return {key.partition(".")[0] for key in checkpoints.manifest(name)}


@pytest.mark.parametrize(
    ("family", "scopes", "name", "text", "unet"),
    [
        (SD1, ("linear",), "lora_kohya_sd15_linear", 72, 192),
        (SD1, ("linear", "conv"), "lora_kohya_sd15_conv", 72, 278),
        (SD2, ("linear",), "lora_kohya_sd21_linear", 138, 192),
        (SDXL, ("linear",), "lora_kohya_sdxl_linear", 264, 722),
        (SDXL, ("linear", "conv"), "lora_kohya_sdxl_conv", 264, 788),
        (FLUX, ("linear",), "lora_kohya_flux_clip_t5", 240, 304),
        (SD35_MEDIUM, ("linear",), "lora_kohya_sd35_medium_unet_only", 0, 263),
        (KLEIN_4B, ("linear",), "klein4b", 0, 80),
        (CHROMA, ("linear",), "chroma", 0, 19 * 8 + 38 * 2),
    ],
)
def test_scopes_are_those_of_the_trainer(
    family: Family, scopes: tuple[str, ...], name: str, text: int, unet: int
) -> None:
    chosen = [module for module in MODULES[family].values() if module.scope in scopes]
    chosen = [module for module in chosen if text or module.component == "unet"]
    assert {family.kohya_name(module.name) for module in chosen} == adapter_modules(name)
    assert sum(module.component.startswith("te") for module in chosen) == text
    assert sum(module.component == "unet" for module in chosen) == unet


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
def test_no_layer_is_larger_than_an_adapter_may_change(family: Family) -> None:
    specs = checkpoints.manifest(CHECKPOINTS[family])
    assert max(math.prod(specs[one.key].shape) for one in MODULES[family].values()) <= LARGEST


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
def test_every_module_survives_the_way_to_kohya_and_back(family: Family) -> None:
    adaptable = [name for name in MODULES[family] if family.component(name.partition(".")[0]).kohya]
    spelled = {family.kohya_name(name): name for name in adaptable}
    assert len(spelled) == len(adaptable)
    assert {family.module_of_kohya(raw) for raw in spelled} == set(adaptable)
    assert all(family.module_of_kohya(raw) == name for raw, name in spelled.items())


def test_sdxl_reads_both_spellings_alike() -> None:
    names = checkpoints.raw_manifest("map_sdxl_unet")
    for original, diffusers in names.items():
        path = original.removeprefix("model.diffusion_model.").rpartition(".")[0].replace(".", "_")
        other = str(diffusers).rpartition(".")[0].replace(".", "_")
        module = SDXL.module_of_kohya(f"lora_unet_{path}")
        assert module is not None
        assert module == SDXL.module_of_kohya(f"lora_unet_{other}")


@pytest.mark.parametrize(
    ("family", "name"),
    [
        (SDXL, "lora_kohya_sdxl_conv_diffusers_names"),
        (SDXL, "lora_lycoris_sdxl_locon_norm"),
        (SD1, "lora_lycoris_sd15_locon"),
        (FLUX, "lora_lycoris_flux_lokr_factor8"),
    ],
)
def test_real_adapters_name_layers_of_the_model(family: Family, name: str) -> None:
    for raw in adapter_modules(name):
        assert family.module_of_kohya(raw) in MODULES[family], raw


@pytest.mark.parametrize(("manifest", "family"), [("sd15", SD1), ("sdxl", SDXL)])
def test_blocks_are_those_of_block_weight(manifest: str, family: Family) -> None:
    table = checkpoints.raw_manifest("lbw_blocks")[manifest]
    assert isinstance(table, dict)
    for raw, (path, long_block, short_block, _) in table.items():
        name = family.module_of_kohya(raw)
        assert name is not None, raw
        assert path is None or name == f"unet.{path}"
        assert family.block_of_module(name) == long_block
        assert MODULES[family][name].block == long_block
        assert (long_block if long_block in family.short_blocks else None) == short_block


def test_block_of_any_key() -> None:
    unet = "model.diffusion_model."
    assert SDXL.block_of_key(f"{unet}input_blocks.4.1.norm.bias") == "IN04"
    assert SDXL.block_of_key(f"{unet}middle_block.1.proj_in.weight") == "MID"
    assert SD1.block_of_key(f"{unet}output_blocks.11.0.in_layers.2.bias") == "OUT11"
    assert SD1.block_of_key(f"{unet}input_blocks.0.0.weight") == "IN00"
    for outside in (
        "time_embed.0.weight",
        "label_emb.0.0.bias",
        "out.2.weight",
        "input_blocks.9.0.op.weight",
    ):
        assert SDXL.block_of_key(unet + outside) is None
    assert SDXL.block_of_key("conditioner.embedders.1.model.text_projection") == "BASE"
    assert (
        SDXL.block_of_key("conditioner.embedders.0.transformer.text_model.embeddings.position_ids") == "BASE"
    )
    assert SDXL.block_of_key("first_stage_model.decoder.conv_in.weight") is None
    assert SDXL.block_of_key("v_pred") is None


def test_fused_attention_is_three_row_slices_of_one_key() -> None:
    fused = "conditioner.embedders.1.model.transformer.resblocks.7.attn.in_proj_weight"
    modules = SDXL.modules_of_key(fused)
    attention = "te2.text_model.encoder.layers.7.self_attn"
    assert [(m.name, m.part) for m in modules] == [
        (f"{attention}.q_proj", (0, 3)),
        (f"{attention}.k_proj", (1, 3)),
        (f"{attention}.v_proj", (2, 3)),
    ]
    assert all(m.key == fused and m.scope == "linear" and not m.transpose for m in modules)


def test_text_projection_is_stored_transposed_or_not() -> None:
    stored = "conditioner.embedders.1.model.text_projection"
    (usual,) = SDXL.modules_of_key(stored)
    (linear,) = SDXL.modules_of_key(f"{stored}.weight")
    assert usual.name == linear.name == "te2.text_projection"
    assert (usual.transpose, linear.transpose) == (True, False)


def test_old_checkpoints_leave_the_inner_text_model_out() -> None:
    old = {
        key.replace("transformer.text_model.", "transformer.") for key in checkpoints.manifest("ckpt_sd15")
    }
    modules = SD1.modules(old)
    assert modules.keys() == MODULES[SD1].keys()
    module = modules["te1.text_model.encoder.layers.3.mlp.fc1"]
    assert module.key == "cond_stage_model.transformer.encoder.layers.3.mlp.fc1.weight"
    assert module.key in old


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
def test_every_weight_of_the_manifest_is_known(family: Family) -> None:
    unknown = {key for key in checkpoints.manifest(CHECKPOINTS[family]) if not family.knows_key(key)}
    assert all(
        family.rule_for_key(key) in ("position ids", "logit scale, unused in pictures", PROJECTION)
        for key in unknown
    )
    assert all(family.component_of_key(key) is not None for key in checkpoints.manifest(CHECKPOINTS[family]))


NUMBERED = [
    (family, component.id, entry.name)
    for family in FAMILIES
    for component in family.components
    for entry in (component.table.layers if component.kohya else ())
    if "#" in entry.name
]


@given(depth=st.integers(0, 500), numbered=st.sampled_from(NUMBERED))
def test_names_have_no_depth(depth: int, numbered: tuple[Family, str, str]) -> None:
    family, component, path = numbered
    name = f"{component}.{path.replace('#', str(depth))}"
    assert family.module_of_kohya(family.kohya_name(name)) == name


@pytest.mark.parametrize(
    "raw",
    [
        "lora_unet_input_blocks_9_1_proj_in",  # SD 1 only
        "lora_unet_input_blocks_4_1_transformer_blocks_07_attn1_to_q",
        "lora_unet_input_blocks_4_1_transformer_blocks_#_attn1_to_q",
        "lora_unet_double_blocks_0_img_attn_qkv",
        "lora_te_text_model_encoder_layers_0_mlp_fc1",
        "lora_unet_",
        "input_blocks_4_1_proj_in",
        "",
    ],
)
def test_names_of_other_models_are_not_sdxls(raw: str) -> None:
    assert SDXL.module_of_kohya(raw) is None


def test_unknown_modules_have_no_adapter_name() -> None:
    with pytest.raises(KeyError, match="SDXL has no module"):
        SDXL.kohya_name("unet.input_blocks.99.1.proj_in")
    with pytest.raises(KeyError, match="vae"):
        SDXL.kohya_name("vae.decoder.conv_in")


def test_importing_the_room_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, loralathe.families; print({'torch', 'numpy'} & sys.modules.keys())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
