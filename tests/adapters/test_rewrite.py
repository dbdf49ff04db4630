"""LoRAs in other dialects: the same delta in float64, and the same numbers on the way back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors
from loralathe import MEMORY, convert_lora, in_memory, inspect, written_dialects
from loralathe.adapters import delta, load_factors, open_adapter
from loralathe.errors import InputError
from loralathe.families import Family

Tensors = Mapping[str, torch.Tensor]
H = 32
NEWER = {"zimage": 3, "qwen-image": 3, "qwen-image-2.1": 1, "krea2": 3, "anima": 3}
"""Family → one of how many modules is taken."""


def some(tensors: dict[str, torch.Tensor], every: int) -> dict[str, torch.Tensor]:
    modules = sorted({key.split(".")[0] for key in tensors})[::every]
    return {key: tensor for key, tensor in tensors.items() if key.split(".")[0] in modules}


@pytest.fixture(scope="module")
def loras() -> dict[str, dict[str, torch.Tensor]]:
    return {
        "sd1": some(tiny_lora("sd1", rank=4, alpha=2, conv_rank=2, seed=1), 17),
        "sdxl": some(tiny_lora("sdxl", rank=4, alpha=1, conv_rank=2, seed=2), 59),
        "flux": some(tiny_lora("flux", rank=4, alpha=4, seed=3), 4),
        **{name: some(tiny_lora(name, rank=2, alpha=1, seed=4), every) for name, every in NEWER.items()},
    }


def deltas(tensors: Tensors, family: Family | None = None) -> tuple[Family, dict[str, torch.Tensor]]:
    """Of every module that changes something, in float64."""
    with open_adapter(in_memory(tensors), family, with_weights=True) as adapter:
        assert adapter.unmatched == ()
        found = {
            name: delta(load_factors(adapter, module, torch.float64), module.shape)
            for name, module in adapter.modules.items()
        }
    return adapter.family, {name: made for name, made in found.items() if made.any()}


@pytest.mark.long
@pytest.mark.parametrize("to", written_dialects())
@pytest.mark.parametrize("family", ["sd1", "sdxl", "flux", *NEWER])
def test_there_and_back(loras: dict[str, dict[str, torch.Tensor]], family: str, to: str) -> None:
    given = loras[family]
    own, wanted = deltas(given)
    made = convert_lora(given, to, output=MEMORY)
    assert (made.source, made.dialect) == ("kohya", to)
    assert (inspect(in_memory(made.tensors)).layout, inspect(in_memory(made.tensors)).family) == (to, own.id)
    _, got = deltas(made.tensors, own)
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    back = convert_lora(dict(made.tensors), "kohya", output=MEMORY)
    assert back.tensors.keys() == given.keys()
    assert all(torch.equal(deltas(back.tensors)[1][name], wanted[name]) for name in wanted)


def part(stem: str, out: int, width: int, rank: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{stem}.lora_up.weight": torch.randn(out, rank, generator=generator),
        f"{stem}.lora_down.weight": torch.randn(rank, width, generator=generator),
    }


FLUX_ALONE = {
    "lora_unet_single_blocks_0_modulation_lin.lora_up.weight": torch.ones(3 * H, 1),
    "lora_unet_single_blocks_0_modulation_lin.lora_down.weight": torch.ones(1, H),
}
"""SD 3 has no such layer; the others of Flux have its names in diffusers' layout."""


def dense(tensors: Tensors, stem: str, up: str, down: str) -> np.ndarray:
    return tensors[f"{stem}.{up}"].double().numpy() @ tensors[f"{stem}.{down}"].double().numpy()


def test_rows_are_cut_and_put_back_with_their_own_ranks() -> None:
    """kohya's qkv becomes to_q, to_k, to_v; back again it has rank 6 of three parts of 2."""
    qkv = "lora_unet_double_blocks_0_img_attn_qkv"
    whole = {**part(qkv, 3 * H, H, 3), f"{qkv}.alpha": torch.tensor(1.5), **FLUX_ALONE}
    split = convert_lora(whole, "peft", output=MEMORY).tensors
    wanted = dense(whole, qkv, "lora_up.weight", "lora_down.weight") * 0.5
    for number, name in enumerate(("to_q", "to_k", "to_v")):
        stem = f"transformer.transformer_blocks.0.attn.{name}"
        got = dense(split, stem, "lora_B.weight", "lora_A.weight")
        assert np.allclose(got, wanted[number * H : (number + 1) * H], rtol=0, atol=1e-12)
    joined = convert_lora(dict(split), "kohya", output=MEMORY).tensors
    assert joined[f"{qkv}.lora_down.weight"].shape == (9, H)
    again = convert_lora(dict(joined), "peft", output=MEMORY).tensors
    assert again.keys() == split.keys()
    assert all(torch.equal(again[key], split[key]) for key in split)


def test_a_missing_slice_stays_missing() -> None:
    stem = "transformer.transformer_blocks.0.attn.to_k"
    given = {f"{stem}.lora_B.weight": torch.randn(H, 2), f"{stem}.lora_A.weight": torch.randn(2, H)}
    given |= convert_lora(FLUX_ALONE, "peft", output=MEMORY).tensors
    joined = convert_lora(given, "comfyui", output=MEMORY).tensors
    up = joined["diffusion_model.double_blocks.0.img_attn.qkv.lora_up.weight"]
    assert (bool(up[:H].any()), bool(up[2 * H :].any())) == (False, False)
    assert convert_lora(dict(joined), "peft", output=MEMORY).tensors.keys() == given.keys()


def test_different_scales_side_by_side() -> None:
    """Each slice has an alpha of its own: the fused layer has one, the factors hold the rest."""
    stem = "lora_transformer_transformer_blocks_0_attn_to_"
    given = {}
    for number, (letter, alpha) in enumerate(zip("qkv", (1.0, 3.0, 0.1), strict=True)):
        given |= {**part(stem + letter, H, H, seed=number), f"{stem}{letter}.alpha": torch.tensor(alpha)}
    _, wanted = deltas(given)
    _, got = deltas(convert_lora(given, "kohya", output=MEMORY).tensors)
    name = "unet.double_blocks.0.img_attn.qkv"
    assert torch.allclose(got[name], wanted[name], rtol=1e-15, atol=1e-15)


def test_halves_change_places_where_diffusers_has_them_the_other_way_round() -> None:
    stem = "lora_unet_final_layer_adaLN_modulation_1"
    given = part(stem, 2 * H, H)
    made = convert_lora(given, "peft", output=MEMORY).tensors
    up = made["transformer.norm_out.linear.lora_B.weight"]
    assert torch.equal(up, given[f"{stem}.lora_up.weight"].roll(H, 0))


def test_a_scale_that_no_binary_fraction_is_takes_a_larger_type() -> None:
    stem = "lora_unet_single_blocks_0_linear2"
    given = {**part(stem, H, 5 * H, 3), f"{stem}.alpha": torch.tensor(1.0)}
    given = {key: tensor.half() for key, tensor in given.items()}
    made = convert_lora(given, "peft", output=MEMORY)
    assert set(made.dtypes) == {"F64", "F16"}
    wanted = dense(given, stem, "lora_up.weight", "lora_down.weight") / 3
    got = dense(
        made.tensors, "transformer.single_transformer_blocks.0.proj_out", "lora_B.weight", "lora_A.weight"
    )
    assert np.abs(got - wanted).max() <= 1e-15 * np.abs(wanted).max() * 5 * H
    assert set(convert_lora(given, "peft", output=MEMORY, dtype="fp16").dtypes) == {"F16"}


def test_a_core_is_multiplied_out_where_a_dialect_has_none() -> None:
    stem, g = "lora_unet_input_blocks_4_0_in_layers_2", torch.Generator().manual_seed(1)
    up, mid, down = (torch.randn(*s, generator=g) for s in ((8, 3, 1, 1), (3, 2, 3, 3), (2, 5, 1, 1)))
    given = {
        f"{stem}.lora_{name}.weight": tensor for name, tensor in (("up", up), ("mid", mid), ("down", down))
    }
    made = convert_lora(given, "diffusers", output=MEMORY).tensors
    raw = "unet.down_blocks.1.resnets.0.conv1"
    assert made[f"{raw}.lora.down.weight"].shape == (3, 5, 3, 3)
    wanted = np.einsum(
        "or,rskl,si->oikl", *(t.double().numpy() for t in (up[..., 0, 0], mid, down[..., 0, 0]))
    )
    pair = (made[f"{raw}.lora.{name}.weight"].double().numpy() for name in ("up", "down"))
    assert np.allclose(np.einsum("or,rikl->oikl", next(pair)[..., 0, 0], next(pair)), wanted, atol=1e-12)


def test_dora_keeps_its_magnitudes() -> None:
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    magnitudes = torch.rand(3 * H, 1) + 1
    given = {**part(stem, 3 * H, H), f"{stem}.dora_scale": magnitudes}
    made = convert_lora(given, "peft", output=MEMORY).tensors
    vector = made["transformer.transformer_blocks.0.attn.to_k.lora_magnitude_vector"]
    assert torch.equal(vector, magnitudes[H : 2 * H, 0])
    by_inputs = {**part(stem, 3 * H, H), f"{stem}.dora_scale": torch.rand(1, H)}
    with pytest.raises(InputError, match="1 module cannot be written for peft: 1 DoRA by inputs"):
        convert_lora(by_inputs, "peft", output=MEMORY)
    assert convert_lora(by_inputs, "comfyui", output=MEMORY).modules == {"DoRA": 1}


def test_kinds_of_lycoris_keep_their_tensors_or_are_refused() -> None:
    stem = "lora_unet_single_blocks_0_linear2"
    given = {f"{stem}.lokr_w1": torch.randn(2, 2), f"{stem}.lokr_w2": torch.randn(H // 2, 5 * H // 2)}
    made = convert_lora(given, "comfyui", output=MEMORY).tensors
    for name, tensor in given.items():
        assert torch.equal(made[name.replace(stem, "diffusion_model.single_blocks.0.linear2")], tensor)
    with pytest.raises(InputError, match="1 module cannot be written for peft: 1 LoKr") as caught:
        convert_lora(given, "peft", output=MEMORY)
    assert "--bake" in str(caught.value.fix) or "bake" in str(caught.value.fix)


def test_rank_makes_a_plain_lora_of_a_lokr_without_a_base() -> None:
    stem = "lora_unet_double_blocks_0_img_attn_proj"
    given = {f"{stem}.lokr_w1": torch.randn(2, 2), f"{stem}.lokr_w2": torch.randn(H // 2, H // 2)}
    given |= FLUX_ALONE
    made = convert_lora(given, "peft", rank=H, output=MEMORY, dtype="fp32")
    assert made.baking is not None
    assert made.baking.extractions[0].total().kept == pytest.approx(made.baking.extractions[0].total().energy)
    _, wanted = deltas(given)
    _, got = deltas(made.tensors)
    name = "unet.double_blocks.0.img_attn.proj"
    assert torch.allclose(got[name], wanted[name], atol=1e-4)


def test_what_depends_on_the_base_is_baked_with_it(tmp_path: Path) -> None:
    base = tiny_checkpoint("flux-alone", seed=4)
    key = "double_blocks.0.img_attn.proj.weight"
    out, width = base[key].shape
    stem = "lora_unet_double_blocks_0_img_attn_proj"
    given = {**part(stem, out, width), f"{stem}.dora_scale": torch.rand(out, 1) + 0.5}
    with pytest.raises(InputError, match="DoRA"):
        convert_lora(given, "diffusers", output=MEMORY)
    made = convert_lora(given, "diffusers", bake=base, rank=out, output=MEMORY, dtype="fp32")
    weight = base[key].double().numpy()
    moved = weight + dense(given, stem, "lora_up.weight", "lora_down.weight")
    norms = np.linalg.norm(moved, axis=1, keepdims=True)
    wanted = given[f"{stem}.dora_scale"].double().numpy() * moved / norms - weight
    got = dense(
        made.tensors, "transformer.transformer_blocks.0.attn.to_out.0", "lora.up.weight", "lora.down.weight"
    )
    assert np.abs(got - wanted).max() <= 2e-3 * np.abs(wanted).max()
    with pytest.raises(InputError, match="depends on the model's own weights"):
        convert_lora(given, "diffusers", rank=4, output=MEMORY)


def test_biases_and_embeddings(tmp_path: Path) -> None:
    stem = "lora_unet_double_blocks_0_img_mlp_0"
    given = {**part(stem, 4 * H, H), f"{stem}.alpha": torch.tensor(1.0), f"{stem}.diff_b": torch.randn(4 * H)}
    given |= FLUX_ALONE
    given["bundle_emb.hina.clip_l"] = torch.randn(2, H)
    made = convert_lora(given, "peft", output=MEMORY)
    assert made.left_out == ("hina",)
    raw = "transformer.transformer_blocks.0.ff.net.0.proj"
    assert torch.equal(made.tensors[f"{raw}.lora_B.bias"], given[f"{stem}.diff_b"])
    back = convert_lora(dict(made.tensors), "kohya", output=MEMORY).tensors
    assert torch.equal(back[f"{stem}.diff_b"], given[f"{stem}.diff_b"])
    kept = convert_lora(given, "comfyui", output=MEMORY)
    assert torch.equal(kept.tensors["bundle_emb.hina.clip_l"], given["bundle_emb.hina.clip_l"])


def test_the_file_has_the_trainers_metadata_and_no_false_record(tmp_path: Path) -> None:
    stem = "lora_unet_double_blocks_0_img_mlp_0"
    metadata = {"ss_output_name": "hina", "lora_adapter_metadata": "{}", "loralathe": "{}"}
    path = write_safetensors(tmp_path / "hina.safetensors", part(stem, 4 * H, H), metadata)
    made = convert_lora(path, "peft")
    assert made.path == tmp_path / "hina-peft.safetensors"
    found = inspect(made.path).metadata
    assert found["ss_output_name"] == "hina"
    assert "lora_adapter_metadata" not in found
    with pytest.raises(InputError, match="exists"):
        convert_lora(path, "peft")
    with pytest.raises(InputError, match="no dialect is called 'pefft'"):
        convert_lora(path, "pefft")
