"""Flux LoRAs between trainers: one that PEFT made and diffusers saved, and ours in diffusers' converter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import manifest, raw_manifest, write_safetensors
from loralathe.adapters import load_factors, open_adapter
from loralathe.engine import RunOptions, run_recipe
from loralathe.language import Save, make_recipe

pytest.importorskip("diffusers", reason="needs diffusers, which writes and converts the LoRA")
pytest.importorskip("transformers", reason="needs transformers: diffusers' pipelines do")

STRENGTH = 0.6
ROOT = Path(__file__).parents[2]
WIDTH, FULL = 32, 3072


def original(key: str) -> tuple[str, slice, bool]:
    """Key of diffusers' transformer → the original one, its rows, whether their halves change places."""
    value = raw_manifest("map_flux_transformer")[key]
    entry = value if isinstance(value, dict) else {"original": value}
    start, stop = entry.get("rows", (None, None))
    rows = slice(None) if start is None else slice(start * WIDTH // FULL, stop * WIDTH // FULL)
    return str(entry["original"]), rows, bool(entry.get("halves_swapped"))


def as_original(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state of diffusers' transformer in the original layout, by the map of diffusers' own converter."""
    pieces: dict[str, list[tuple[int, torch.Tensor]]] = {}
    for key, tensor in state.items():
        name, rows, swapped = original(key)
        held = torch.cat(tensor.chunk(2)[::-1]) if swapped else tensor
        pieces.setdefault(name, []).append((rows.start or 0, held))
    return {
        name: torch.cat([tensor for _, tensor in sorted(found, key=lambda one: one[0])]).contiguous()
        for name, found in pieces.items()
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A tiny transformer in the original layout, PEFT's LoRA on all its linear layers, and PEFT's deltas."""
    peft: Any = pytest.importorskip("peft", reason="needs peft, the trainer's library")
    from diffusers import FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(1)
    model: Any = FluxTransformer2DModel(
        num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, in_channels=64,
        joint_attention_dim=48, pooled_projection_dim=24, axes_dims_rope=(4, 6, 6), guidance_embeds=True,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("flux-peft")
    write_safetensors(folder / "base.safetensors", as_original(dict(model.state_dict())))
    targets = "all-linear"
    model.add_adapter(peft.LoraConfig(r=3, lora_alpha=5, target_modules=targets), "default")
    deltas = {}
    for name, layer in model.named_modules():
        if hasattr(layer, "get_delta_weight"):
            for factor in (layer.lora_A["default"], layer.lora_B["default"]):
                torch.nn.init.normal_(factor.weight, std=0.2)
            deltas[f"{name}.weight"] = layer.get_delta_weight("default").detach()
    state = peft.get_peft_model_state_dict(model, adapter_name="default")
    config = {key: value for key, value in model.peft_config["default"].to_dict().items() if _plain(value)}
    FluxPipeline.save_lora_weights(
        folder, transformer_lora_layers=state, transformer_lora_adapter_metadata=config
    )
    return folder, deltas


def _plain(value: object) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def test_a_lora_of_peft_changes_the_fused_layers_by_its_own_deltas(
    trained: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    folder, deltas = trained
    inputs = {"A": folder / "base.safetensors", "lora": folder / "pytorch_lora_weights.safetensors"}
    save = Save("M", tmp_path / "merged.safetensors")
    recipe = make_recipe(inputs=inputs, steps={"M": f"A + {STRENGTH}*lora"}, saves=[save])
    report = run_recipe(recipe, RunOptions(threads=1, hash_inputs=False))
    merged, base = load_file(save.file), load_file(inputs["A"])
    assert report.coverage["lora"].unmatched == ()
    expected = {key: tensor.double() for key, tensor in base.items()}
    for key, delta in deltas.items():
        name, rows, swapped = original(key)
        change = torch.cat(delta.chunk(2)[::-1]) if swapped else delta
        expected[name][rows] += STRENGTH * change.double()
    changed = {key for key in base if not torch.equal(merged[key], base[key])}
    assert changed == {original(key)[0] for key in deltas}
    assert len(changed) == 23
    for key, tensor in merged.items():
        torch.testing.assert_close(tensor.double(), expected[key], rtol=0, atol=1e-6)


def test_diffusers_reads_what_we_write(tmp_path: Path) -> None:
    """Its converter of kohya's Flux LoRAs has the full widths built in: two blocks of full size, rank 2."""
    from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers

    generator = torch.Generator().manual_seed(2)
    shapes = {key: spec.shape for key, spec in manifest("lora_kohya_flux_unet_only").items()}
    tensors = {
        key: torch.randn(_of_rank_2(key, shape), generator=generator) if shape else torch.tensor(1.0)
        for key, shape in shapes.items()
        if "_blocks_0_" in key
    }
    first = write_safetensors(tmp_path / "first.safetensors", tensors)
    save = Save("L", tmp_path / "ours.safetensors", "fp32")
    recipe = make_recipe(inputs={"x": first}, steps={"L": "combine(x)"}, saves=[save])
    run_recipe(recipe, RunOptions(threads=1, hash_inputs=False))
    converted = _convert_kohya_flux_lora_to_diffusers(load_file(save.file))
    copied = {key: tensor.clone() for key, tensor in converted.items()}
    again = write_safetensors(tmp_path / "again.safetensors", copied)
    with open_adapter(save.file) as ours, open_adapter(again) as theirs:
        assert ours.modules.keys() == theirs.modules.keys()
        assert len(ours.modules) == 13
        for name, module in ours.modules.items():
            x = torch.randn(module.shape[1], generator=generator)
            one, other = load_factors(ours, module), load_factors(theirs, theirs.modules[name])
            assert one.shape == other.shape
            torch.testing.assert_close(
                one.up @ (one.down @ x), other.up @ (other.down @ x), rtol=1e-4, atol=1e-3
            )


def test_what_diffusers_drops_is_what_the_docs_say() -> None:
    """docs/loras.md, In other programs: its transformer takes only names that start with `transformer.`."""
    from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers

    outside = ("img_in", "txt_in", "time_in_in_layer", "vector_in_in_layer", "guidance_in_in_layer")
    outside += ("final_layer_linear", "final_layer_adaLN_modulation_1")
    read = ("lora_unet_double_blocks_0_img_attn_proj", "lora_te1_text_model_encoder_layers_0_mlp_fc1")
    t5 = "lora_te3_encoder_block_0_layer_0_SelfAttention_q"
    kept = {}
    for name in (*read, *(f"lora_unet_{layer}" for layer in outside), t5):
        tensors = {
            f"{name}.lora_up.weight": torch.ones(3072, 1),
            f"{name}.lora_down.weight": torch.ones(1, 3072),
        }
        found = _convert_kohya_flux_lora_to_diffusers({**tensors, f"{name}.alpha": torch.tensor(1.0)})
        kept[name] = bool(found) and all(key.startswith(("transformer.", "text_encoder.")) for key in found)
    assert [name for name, all_of_it in kept.items() if all_of_it] == list(read)
    table = (ROOT / "docs" / "loras.md").read_text("utf-8").partition("## In other programs")[2]
    assert all(
        layer.partition("_in_layer")[0].removesuffix("_linear").removesuffix("_adaLN_modulation_1") in table
        for layer in outside
    )


def _of_rank_2(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (2, shape[1]) if "lora_down" in key else (shape[0], 2)
