"""Every kind of file is recognised or summarised from its header; none is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from checkpoints import MANIFESTS, Spec, manifest, tiny_lora, write_safetensors, write_sparse
from clock import at_most
from loralathe.errors import InputError
from loralathe.inspection import inspect_file

NOT_FILES = ("map_", "lbw_", "extras_", "loranames_")
FILES = sorted(
    path.name.removesuffix(".json.gz")
    for path in MANIFESTS.glob("*.json.gz")
    if not path.name.startswith(NOT_FILES)
)

KNOWN = {
    "ckpt_sd15": ("checkpoint", "SD 1.5 checkpoint", "sd1"),
    "ckpt_sd15_inpainting": ("checkpoint", "SD 1.5 checkpoint, inpainting (9 channels)", "sd1"),
    "ckpt_sd21_768v": ("checkpoint", "SD 2 checkpoint", "sd2"),
    "ckpt_sdxl_base": ("checkpoint", "SDXL checkpoint", "sdxl"),
    "ckpt_sdxl_refiner": ("checkpoint", "SDXL refiner checkpoint", "sdxl-refiner"),
    "ckpt_flux_dev": ("checkpoint", "Flux checkpoint, dev", "flux"),
    "ckpt_flux_dev_all_in_one": ("checkpoint", "Flux checkpoint, dev", "flux"),
    "ckpt_sd35_medium": ("checkpoint", "SD 3.5 medium checkpoint", "sd35m"),
    "lora_kohya_flux_clip_t5": ("adapter", "LoRA for Flux", "flux"),
    "diffusers_vae_sd": ("other", "a VAE alone in the diffusers layout (a file of a diffusers folder)", None),
    "lora_kohya_sdxl_linear": ("adapter", "LoRA for SDXL", "sdxl"),
    "lora_kohya_sd15_conv": ("adapter", "LoCon for SD 1.5", "sd1"),
    "lora_lycoris_sdxl_loha": ("adapter", "LoHa for SDXL", "sdxl"),
    "lora_lycoris_sdxl_locon_norm": ("adapter", "LoCon and norm for SDXL", "sdxl"),
    "lora_lycoris_sdxl_dora": ("adapter", "DoRA for SDXL", "sdxl"),
    "lora_lycoris_sdxl_ia3": ("adapter", "(IA)³ for SDXL", "sdxl"),
    "lora_peft_sdxl_A_B": ("adapter", "LoRA for SDXL", "sdxl"),
    "lora_diffusers_sdxl_down_up": ("adapter", "LoRA for SDXL", "sdxl"),
    "lora_lycoris_flux_lokr_factor8": ("adapter", "LoKr for Flux", "flux"),
}


@pytest.mark.quick(12)
@pytest.mark.parametrize("name", FILES)
def test_no_valid_file_is_refused(name: str, tmp_path: Path) -> None:
    specs = manifest(name)
    seen = inspect_file(write_sparse(tmp_path / "x.safetensors", specs))
    assert seen.tensors == len(specs)
    assert seen.parameters == sum(math.prod(spec.shape) for spec in specs.values())
    assert sum(part.parameters for part in seen.parts) == seen.parameters
    assert sum(seen.dtypes.values()) == seen.parameters
    assert seen.kind == ("adapter" if name.startswith("lora_") else seen.kind)
    if name in KNOWN:
        assert (seen.kind, seen.what, seen.family) == KNOWN[name]
    assert (seen.note is not None) == (seen.family is None)


def test_components_and_rules_of_sdxl(tmp_path: Path) -> None:
    seen = inspect_file(write_sparse(tmp_path / "x.safetensors", manifest("ckpt_sdxl_base")))
    assert {part.name: part.tensors for part in seen.parts} == {
        "U-Net": 1680,
        "text encoder 1": 197,
        "text encoder 2": 390,
        "VAE": 248,
    }
    assert seen.parts[0].parameters == 2_567_463_684
    assert seen.checkpoint is not None
    assert len(seen.checkpoint.short_blocks), len(seen.checkpoint.long_blocks) == (12, 20)
    assert seen.checkpoint.prediction == "epsilon"


def test_a_v_prediction_mark_is_seen(tmp_path: Path) -> None:
    specs = {**manifest("ckpt_sdxl_base"), "v_pred": Spec((0,), "F32")}
    seen = inspect_file(write_sparse(tmp_path / "x.safetensors", specs))
    assert seen.checkpoint is not None
    assert seen.checkpoint.prediction == "v"
    assert seen.checkpoint.kept_by_rule["prediction marks"] == 1


def test_ranks_alphas_and_coverage(tmp_path: Path) -> None:
    lora = tiny_lora("sd1", rank=8, alpha=4, conv_rank=2, seed=1)
    lora["strange.key"] = lora["lora_te_text_model_encoder_layers_0_mlp_fc1.alpha"].clone()
    facts = inspect_file(write_safetensors(tmp_path / "x.safetensors", lora)).adapter
    assert facts is not None
    assert facts.ranks[8] + facts.ranks[2] == facts.modules == sum(facts.alphas.values())
    assert facts.alphas == {4.0: facts.modules}
    assert facts.components == {"te1": 72, "unet": facts.modules - 72}
    assert facts.unmatched == ("strange.key",)
    coverage = {entry.block: entry for entry in facts.coverage}
    assert next(iter(coverage)) == "TE1"
    assert coverage["TE1"].modules == 72
    assert coverage["MID"].ranks == {2: 4, 8: 14}
    assert facts.missing == ()


def test_blocks_without_modules_are_named(tmp_path: Path) -> None:
    lora = {
        key: value for key, value in tiny_lora("sd1", rank=2, alpha=None, seed=1).items() if "mid" not in key
    }
    facts = inspect_file(write_safetensors(tmp_path / "x.safetensors", lora)).adapter
    assert facts is not None
    assert facts.missing == ("MID",)
    assert facts.alphas == {None: facts.modules}


def test_unknown_and_empty_files(tmp_path: Path) -> None:
    specs = {f"layer{n}.weight": Spec((2, 3)) for n in range(40)} | {"head.bias": Spec((4,))}
    seen = inspect_file(write_sparse(tmp_path / "x.safetensors", specs))
    assert seen.kind == "other"
    assert seen.note
    assert len(seen.parts) == 41
    empty = inspect_file(write_sparse(tmp_path / "y.safetensors", {}))
    assert empty.what == "a file without tensors"
    assert empty.parts == ()


def test_metadata_and_record(tmp_path: Path) -> None:
    metadata = {"ss_tag": "ひな", "loralathe": '{"version":"1","steps":{}}'}
    seen = inspect_file(write_sparse(tmp_path / "x.safetensors", {"a.b": Spec((1,))}, metadata))
    assert seen.metadata["ss_tag"] == "ひな"
    assert seen.record == {"version": "1", "steps": {}}


def test_what_is_no_model_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_text("just text, and enough of it to be looked at")
    with pytest.raises(InputError):
        inspect_file(path)


def test_a_full_size_sdxl_is_looked_at_in_a_moment(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "x.safetensors", manifest("ckpt_sdxl_base"))
    assert path.stat().st_size > 6.9e9
    inspect_file(path)  # what is imported for it is another matter
    with at_most(15):  # less than a second of most processors, for 2,500 tensors
        inspect_file(path)
