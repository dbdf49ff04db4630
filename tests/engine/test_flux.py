"""Flux through the engine: float64 numpy over names from the manifests, both spellings, fp8, blocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import loralathe
from checkpoints import (
    manifest,
    raw_manifest,
    second_checkpoint,
    tiny_checkpoint,
    tiny_lora,
    write_safetensors,
)
from engine.conftest import Family
from engine.reference import as_float64, assert_within_contract, lora_delta, lora_names
from loralathe.engine import run_recipe
from loralathe.errors import InputError
from loralathe.inspection import inspect_file
from loralathe.studies.weights import study_weights
from loralathe.verification import rebuild

UNET = "model.diffusion_model."
PREFIXES = {
    "lora_unet_": UNET,
    "lora_te1_": "text_encoders.clip_l.transformer.",
    "lora_te3_": "text_encoders.t5xxl.transformer.",
}
KEYS = {
    start + key.removeprefix(prefix).removesuffix(".weight").replace(".", "_"): key
    for start, prefix in PREFIXES.items()
    for key in manifest("ckpt_flux_dev_all_in_one")
    if key.startswith(prefix) and key.endswith(".weight")
}
"""kohya name → key of its weight: names are flattened keys."""


def bare(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The transformer alone, its keys without prefix."""
    return {key.removeprefix(UNET): value for key, value in tensors.items() if key.startswith(UNET)}


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """A and B whole in bf16, their transformers alone, LoRAs with and without text encoders."""
    folder = tmp_path_factory.mktemp("flux")
    whole = tiny_checkpoint("flux", seed=1, dtype="BF16")
    other = second_checkpoint(whole, 4e-3, seed=2)
    tensors = {
        "A": whole,
        "B": other,
        "a": bare(whole),
        "b": bare(other),
        "lora": tiny_lora("flux", rank=4, alpha=2.0, seed=3),
        "half": tiny_lora("flux-alone", rank=4, alpha=2.0, seed=3),
    }
    for name, held in tensors.items():
        # Small letters stand for transformers alone; file systems may not tell them from capitals.
        stem = f"{name}-alone" if name in "ab" else name
        write_safetensors(folder / f"{stem}.safetensors", held, {"note": name} if name == "A" else None)
    return Family("flux", folder, tensors)


def paths(flux: Family, **names: str) -> dict[str, Path]:
    return {name: flux.path(file) for name, file in names.items()}


def block_of(name: str) -> str:
    """Block of a kohya name, by LoRA Block Weight's rule."""
    if name.startswith("lora_te"):
        return "CLIP" if name.startswith("lora_te1") else "T5"
    number = int(name.split("blocks_")[1].split("_", maxsplit=1)[0])
    return f"{'D' if 'double_blocks' in name else 'S'}{number:02d}"


def check(
    base: Mapping[str, torch.Tensor],
    result: Mapping[str, torch.Tensor],
    lora: Mapping[str, torch.Tensor],
    strength: Callable[[str], float],
    prefix: str = UNET,
) -> None:
    """Every module against the float64 sum, everything else byte for byte."""
    assert result.keys() == base.keys()
    weights = as_float64(base)
    untouched = set(base)
    for name in lora_names(lora):
        key = KEYS[name] if prefix else KEYS[name].removeprefix(UNET)
        change = strength(name) * lora_delta(lora, name)
        if np.any(change):
            untouched.remove(key)
            assert_within_contract(result[key], weights[key] + change, weights[key], np.abs(change), key)
    assert len(untouched) < len(base)
    for key in untouched:
        assert result[key].dtype == base[key].dtype
        assert torch.equal(result[key], base[key]), key


LIST_57 = [round(0.02 * place - 0.5, 2) for place in range(57)]
LIST_61 = [round(0.02 * place - 0.5, 2) for place in range(61)]
NAMES_57 = [*(f"D{n:02d}" for n in range(19)), *(f"S{n:02d}" for n in range(38))]
NAMES_61 = ["CLIP", "T5", "IN", *NAMES_57, "OUT"]


def listed(names: list[str], values: list[float]) -> Callable[[str], float]:
    weights = dict(zip(names, values, strict=True))
    return lambda name: weights.get(block_of(name), 1.0)


CASES: dict[str, tuple[str, Callable[[str], float]]] = {
    "uniform": ("A + 0.7*lora", lambda name: 0.7),
    "te and unet apart": (
        "A + lora(te=0.25, unet=-0.5)",
        lambda name: 0.25 if name.startswith("lora_te") else -0.5,
    ),
    "57": (f"A + lora@'{','.join(map(str, LIST_57))}'", listed(NAMES_57, LIST_57)),
    "61": (f"A + lora@'{','.join(map(str, LIST_61))}'", listed(NAMES_61, LIST_61)),
    "by name": (
        "A + 0.5*lora@'BASE=0.5,T5=2,D01=0,S00=-1'",
        lambda name: 0.5 * {"CLIP": 0.5, "T5": 2.0, "D01": 0.0, "S00": -1.0}.get(block_of(name), 1.0),
    ),
    "element rule": (
        "A + lora(elements='D00-S01:img_attn linear1:0.25')",
        lambda name: 0.25 if block_of(name) < "S02" and ("img_attn" in name or "linear1" in name) else 1.0,
    ),
}


@pytest.mark.quick(3)
@pytest.mark.parametrize("case", CASES)
def test_merging_is_the_float64_sum(flux, evaluate, case):
    formula, strength = CASES[case]
    result, report = evaluate(flux, formula, inputs=paths(flux, A="A", lora="lora"))
    check(flux.tensors["A"], result, flux.tensors["lora"], strength)
    assert report.coverage["lora"].unmatched == ()


def test_a_transformer_alone_keeps_its_spelling(flux, evaluate):
    result, report = evaluate(flux, "A + 0.7*lora", inputs=paths(flux, A="a-alone", lora="half"))
    check(flux.tensors["a"], result, flux.tensors["half"], lambda name: 0.7, prefix="")
    assert report.weights[0].buckets == {"changed": 29, "copied": 63}


def test_text_modules_on_a_transformer_alone_are_an_error_that_says_why(flux, evaluate):
    inputs = paths(flux, A="a-alone", lora="lora")
    with pytest.raises(InputError, match=r"86 of the LoRA's 115 modules have no place") as caught:
        evaluate(flux, "A + lora", inputs=inputs)
    assert caught.value.fix is not None
    assert caught.value.fix.endswith("(the base has no text encoder 1 and no T5 text encoder)")
    result, _ = evaluate(flux, "A + lora", inputs=inputs, allow_unmatched=True)
    check(flux.tensors["a"], result, flux.tensors["half"], lambda name: 1.0, prefix="")


@pytest.mark.parametrize(("first", "second"), [("A", "b-alone"), ("a-alone", "B"), ("a-alone", "b-alone")])
def test_files_of_both_spellings_meet(flux, evaluate, first, second):
    inputs = paths(flux, X=first, Y=second)
    result, _ = evaluate(flux, "X + 0.25*(Y - X)@'D00=2,IN=-1'", inputs=inputs)
    base = flux.tensors[first.removesuffix("-alone")]
    x, y = as_float64(flux.tensors["A"]), as_float64(flux.tensors["B"])
    assert result.keys() == base.keys()
    for key, tensor in result.items():
        full = key if key in x else UNET + key
        if not full.startswith(UNET):
            assert torch.equal(tensor, base[key])
            continue
        path = full.removeprefix(UNET)
        factor = 0.25 * (2.0 if path.startswith("double_blocks.0.") else -1.0 if "_in." in path else 1.0)
        change = factor * (y[full] - x[full])
        assert_within_contract(tensor, x[full] + change, x[full], np.abs(factor * x[full]) * 2, key)


def test_dev_and_schnell(flux, evaluate, tmp_path):
    """Guidance is only in dev: kept where dev is first, an error where it would get lost."""
    schnell = {key: value for key, value in flux.tensors["b"].items() if "guidance" not in key}
    path = write_safetensors(tmp_path / "schnell.safetensors", schnell)
    assert inspect_file(path).what == "Flux checkpoint, schnell"
    inputs = {"dev": flux.path("a-alone"), "schnell": path}
    result, _ = evaluate(flux, "0.5*dev + 0.5*schnell", inputs=inputs)
    for key in ("guidance_in.in_layer.weight", "guidance_in.out_layer.bias"):
        assert torch.equal(result[key], flux.tensors["a"][key])
    with pytest.raises(InputError, match="4 tensors of 'dev' have no counterpart in 'schnell'"):
        evaluate(flux, "0.5*schnell + 0.5*dev", inputs=inputs)


def test_extraction_gives_the_merged_lora_back(flux, evaluate, tmp_path):
    merged, _ = evaluate(flux, "A + lora", inputs=paths(flux, A="A", lora="lora"), dtype="fp32")
    save_file(merged, tmp_path / "merged.safetensors")
    inputs = {"T": tmp_path / "merged.safetensors", "A": flux.path("A")}
    found, report = evaluate(flux, "extract(T - A, rank=4)", inputs=inputs, dtype="fp32")
    lora = flux.tensors["lora"]
    assert lora_names(found) == lora_names(lora)
    for name in lora_names(lora):
        wanted, got = lora_delta(lora, name), lora_delta(found, name)
        assert np.linalg.norm(got - wanted) <= 1e-5 * np.linalg.norm(wanted), name
    assert {block.block for block in report.extractions[0].blocks() if block.kept} == {
        "CLIP", "T5", "D00", "D01", "S00", "S01", "S02",
    }  # fmt: skip


def test_text_encoders_are_dropped_when_asked(flux, evaluate):
    inputs = paths(flux, T="B", A="A")
    found, _ = evaluate(flux, "extract(T - A, rank=2, te3=0)", inputs=inputs)
    assert {name[:9] for name in lora_names(found)} == {"lora_te1_", "lora_unet"}
    found, _ = evaluate(flux, "extract(T - A, rank=2, te1=0)", inputs=inputs)
    assert {name[:9] for name in lora_names(found)} == {"lora_te3_", "lora_unet"}


def test_an_extracted_file_says_what_the_trainer_would(flux, tmp_path):
    output = tmp_path / "new.safetensors"
    loralathe.extract(flux.path("b-alone"), flux.path("A"), rank=3, output=output, threads=1)
    with safe_open(str(output), "pt") as file:
        metadata = file.metadata()
        names = {key.partition(".")[0] for key in file.keys()}  # noqa: SIM118 - no mapping
    assert names == set(lora_names(flux.tensors["half"]))
    wanted = {
        "ss_base_model_version": "flux1",
        "ss_network_module": "networks.lora_flux",
        "ss_network_dim": "3",
        "ss_v2": "False",
        "modelspec.architecture": "flux-1-dev/lora",
        "modelspec.resolution": "1024x1024",
    }
    assert {key: metadata[key] for key in wanted} == wanted
    assert "modelspec.prediction_type" not in metadata
    assert json.loads(metadata["ss_network_args"]) == {}


def f8_spacing(value: np.ndarray) -> np.ndarray:
    """Distance of float8 e4m3 numbers at |value|: 3 bits of mantissa, 2⁻⁶ the smallest normal number."""
    _, exponent = np.frexp(np.abs(value))
    return np.ldexp(1.0, np.maximum(exponent - 1, -6) - 3)


def test_plain_fp8_is_read_and_written(flux, evaluate, tmp_path):
    f8 = torch.float8_e4m3fn
    base = {key: value.to(f8) if value.ndim == 2 else value for key, value in flux.tensors["a"].items()}
    inputs = {"A": write_safetensors(tmp_path / "f8.safetensors", base), "lora": flux.path("half")}
    result, _ = evaluate(flux, "A + 0.7*lora", inputs=inputs)
    wide, _ = evaluate(flux, "A + 0.7*lora", inputs=inputs, dtype="fp32")
    for name in lora_names(flux.tensors["half"]):
        key = KEYS[name].removeprefix(UNET)
        weight = base[key].float().double().numpy()
        change = 0.7 * lora_delta(flux.tensors["half"], name)
        assert result[key].dtype == f8
        error = np.abs(result[key].float().double().numpy() - (weight + change))
        assert np.all(error <= 0.5001 * f8_spacing(weight + change)), key
        assert_within_contract(wide[key], weight + change, weight, np.abs(change), key)
    assert result["img_in.weight"].view(torch.uint8).equal(base["img_in.weight"].view(torch.uint8))
    with pytest.raises(InputError, match="more than float8_e4m3fn can hold"):
        evaluate(flux, "A + 30000*lora", inputs=inputs)


def test_discard_and_dtype_speak_of_the_names_in_the_output(flux, tmp_path):
    output = tmp_path / "out.safetensors"
    loralathe.evaluate(
        "A", {"A": flux.path("a-alone")}, output=output, dtype="fp16", discard="^guidance_in", threads=1
    )
    found = load_file(output)
    assert found.keys() == {key for key in flux.tensors["a"] if not key.startswith("guidance_in")}
    assert {value.dtype for value in found.values()} == {torch.float16}


def test_records_verify_and_run_again(flux, tmp_path):
    first, again = tmp_path / "m.safetensors", tmp_path / "again.safetensors"
    loralathe.merge(flux.path("a-alone"), flux.path("half"), output=first, threads=1)
    found = loralathe.verify(first, search=[flux.folder], everything=True, threads=1)
    assert (found.ok, found.total.checked, found.total.copied) == (True, 92, 63)
    run_recipe(*rebuild(first, again, search=[flux.folder]))
    assert again.read_bytes() == first.read_bytes()


def test_a_vae_is_baked_in(flux, tmp_path):
    vae = {key.removeprefix("vae."): value for key, value in flux.tensors["B"].items() if key[:4] == "vae."}
    assert vae.keys() == manifest("part_flux_vae").keys()
    path, output = write_safetensors(tmp_path / "ae.safetensors", vae), tmp_path / "out.safetensors"
    loralathe.evaluate("A", {"A": flux.path("A")}, output=output, vae=path, threads=1)
    for key, value in load_file(output).items():
        assert torch.equal(value, flux.tensors["B" if key.startswith("vae.") else "A"][key]), key


def test_comparing_names_the_blocks_of_both_spellings(flux):
    found = loralathe.compare(flux.path("a-alone"), flux.path("B"), threads=1)
    assert [block.block for block in found.blocks] == ["IN", "D00", "D01", "S00", "S01", "S02", "OUT"]
    assert (len(found.only_x), len(found.only_y)) == (0, len(flux.tensors["B"]) - 92)
    x, y = as_float64(flux.tensors["A"]), as_float64(flux.tensors["B"])
    keys = [key for key in x if key.startswith(f"{UNET}single_blocks.2.")]
    difference = np.sqrt(sum(np.sum((x[key] - y[key]) ** 2) for key in keys))
    norm = np.sqrt(sum(np.sum(x[key] ** 2) for key in keys))
    assert found.blocks[5].difference == pytest.approx(difference / norm, rel=1e-6)


def test_the_weights_study_measures_what_numpy_does(flux):
    study = study_weights(flux.path("a-alone"), flux.path("half"), threads=1)
    assert [block.block for block in study.blocks] == ["D00", "D01", "S00", "S01", "S02"]
    lora, base = flux.tensors["half"], as_float64(flux.tensors["a"])
    names = [name for name in lora_names(lora) if block_of(name) == "D01"]
    delta = np.sqrt(sum(np.sum(lora_delta(lora, name) ** 2) for name in names))
    weight = np.sqrt(sum(np.sum(base[KEYS[name].removeprefix(UNET)] ** 2) for name in names))
    assert (study.blocks[1].modules, len(names)) == (10, 10)
    assert study.blocks[1].delta_norm == pytest.approx(delta, rel=1e-5)
    assert study.blocks[1].ratio == pytest.approx(delta / weight, rel=1e-5)


def test_an_sdxl_lora_is_refused(flux, evaluate, tmp_path):
    path = write_safetensors(tmp_path / "xl.safetensors", tiny_lora("sdxl", rank=2, alpha=1.0, seed=5))
    with pytest.raises(InputError, match="Flux") as caught:
        evaluate(flux, "A + lora", inputs={"A": flux.path("A"), "lora": path})
    assert "this one is made for SDXL" in str(caught.value)


# LoRAs as diffusers and PEFT have them: q, k, v and the MLP are layers of their own there.

WIDTH = 96
PARTS = {  # path in diffusers → (key without prefix and `.weight`, rows of it)
    "transformer_blocks.1.attn.to_q": ("double_blocks.1.img_attn.qkv", (0, 1)),
    "transformer_blocks.1.attn.to_k": ("double_blocks.1.img_attn.qkv", (1, 2)),
    "transformer_blocks.1.attn.to_v": ("double_blocks.1.img_attn.qkv", (2, 3)),
    "transformer_blocks.0.attn.add_k_proj": ("double_blocks.0.txt_attn.qkv", (1, 2)),
    "transformer_blocks.0.attn.to_add_out": ("double_blocks.0.txt_attn.proj", (0, 1)),
    "transformer_blocks.0.ff.net.0.proj": ("double_blocks.0.img_mlp.0", (0, 4)),
    "single_transformer_blocks.0.attn.to_q": ("single_blocks.0.linear1", (0, 1)),
    "single_transformer_blocks.0.attn.to_k": ("single_blocks.0.linear1", (1, 2)),
    "single_transformer_blocks.0.attn.to_v": ("single_blocks.0.linear1", (2, 3)),
    "single_transformer_blocks.0.proj_mlp": ("single_blocks.0.linear1", (3, 7)),
    "single_transformer_blocks.1.attn.to_v": ("single_blocks.1.linear1", (2, 3)),
    "single_transformer_blocks.2.proj_mlp": ("single_blocks.2.linear1", (3, 7)),
}


def test_the_parts_are_those_of_the_map() -> None:
    """Guards the table above: rows in thousands of the full-size map."""
    for path, (key, (start, stop)) in PARTS.items():
        value = raw_manifest("map_flux_transformer")[f"{path}.weight"]
        entry = value if isinstance(value, dict) else {"original": value}
        assert entry["original"] == f"{key}.weight"
        assert entry.get("rows", [0, stop * 3072]) == [start * 3072, stop * 3072]


@pytest.fixture(scope="module")
def peft() -> dict[str, torch.Tensor]:
    """Every part with a rank of its own, and an alpha in every second one."""
    made = {}
    generator = torch.Generator().manual_seed(7)
    for number, (path, (_, (start, stop))) in enumerate(PARTS.items()):
        rank = 1 + number % 4
        shapes = {"A": (rank, WIDTH), "B": ((stop - start) * WIDTH, rank)}
        for side, shape in shapes.items():
            made[f"transformer.{path}.lora_{side}.weight"] = torch.randn(shape, generator=generator) * 0.1
        if number % 2:
            made[f"transformer.{path}.alpha"] = torch.tensor(rank * 0.5)
    return made


def peft_change(
    peft: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Key → the sum of its parts in float64."""
    found: dict[str, np.ndarray] = {}
    for path, (key, (start, stop)) in PARTS.items():
        up, down = (peft[f"transformer.{path}.lora_{side}.weight"].double().numpy() for side in "BA")
        scale = 0.5 if f"transformer.{path}.alpha" in peft else 1.0
        change = found.setdefault(f"{key}.weight", np.zeros(shapes[f"{key}.weight"]))
        change[start * WIDTH : stop * WIDTH] += scale * up @ down
    return found


def test_split_layers_are_put_together(flux, evaluate, tmp_path, peft):
    path = write_safetensors(tmp_path / "peft.safetensors", peft)
    inputs = {"A": flux.path("a-alone"), "lora": path}
    result, report = evaluate(flux, "A + 0.7*lora@'D01=2,S00=-1'", inputs=inputs, dtype="fp32")
    base = as_float64(flux.tensors["a"])
    changes = peft_change(peft, {key: value.shape for key, value in base.items()})
    assert (report.coverage["lora"].used, report.coverage["lora"].unmatched) == (len(changes), ())
    for key, tensor in result.items():
        factor = 0.7 * (2.0 if "double_blocks.1." in key else -1.0 if "single_blocks.0." in key else 1.0)
        change = factor * changes.get(key, np.zeros(base[key].shape))
        assert_within_contract(tensor, base[key] + change, base[key], np.abs(change), key)
        assert (key in changes) == (not np.array_equal(tensor.double().numpy(), base[key]))


def test_split_layers_are_saved_as_the_trainer_has_them(flux, evaluate, tmp_path, peft):
    """combine() keeps the factors: kohya's names, the ranks of the parts added up, the same delta."""
    path = write_safetensors(tmp_path / "peft.safetensors", peft)
    found, _ = evaluate(flux, "combine(lora)", inputs={"lora": path}, dtype="fp32")
    changes = peft_change(peft, {key: tuple(t.shape) for key, t in flux.tensors["a"].items()})
    names = {name: KEYS[name].removeprefix(UNET) for name in lora_names(found)}
    assert set(names.values()) == set(changes)
    for name, key in names.items():
        np.testing.assert_allclose(lora_delta(found, name), changes[key], atol=1e-6)
    assert found["lora_unet_double_blocks_1_img_attn_qkv.lora_down.weight"].shape == (1 + 2 + 3, WIDTH)
    assert found["lora_unet_single_blocks_0_linear1.lora_down.weight"].shape == (3 + 4 + 1 + 2, WIDTH)


def test_halves_of_the_last_modulation_change_places(flux, evaluate, tmp_path):
    """diffusers keeps scale and shift of the final layer in the other order."""
    up, down = torch.randn(2 * WIDTH, 2) * 0.1, torch.randn(2, WIDTH) * 0.1
    raw = "transformer.norm_out.linear"
    tensors = {f"{raw}.lora_A.weight": down, f"{raw}.lora_B.weight": up}
    inputs = {"A": flux.path("a-alone"), "lora": write_safetensors(tmp_path / "n.safetensors", tensors)}
    result, _ = evaluate(flux, "A + lora", inputs=inputs, dtype="fp32")
    key = "final_layer.adaLN_modulation.1.weight"
    base = flux.tensors["a"][key].double().numpy()
    change = (up.double() @ down.double()).numpy()
    change = np.concatenate([change[WIDTH:], change[:WIDTH]])
    assert_within_contract(result[key], base + change, base, np.abs(change), key)


def test_parts_that_do_not_go_together_are_refused(flux, evaluate, tmp_path, peft):
    narrow = dict(peft)
    raw = "transformer.transformer_blocks.1.attn.to_k"
    narrow[f"{raw}.lora_B.weight"] = narrow[f"{raw}.lora_B.weight"][:64].clone()
    inputs = {"A": flux.path("a-alone"), "lora": write_safetensors(tmp_path / "n.safetensors", narrow)}
    with pytest.raises(InputError, match="the parts of one layer do not go together") as caught:
        evaluate(flux, "A + lora", inputs=inputs)
    assert raw in str(caught.value.where)
    fused = {
        f"lora_unet_double_blocks_1_img_attn_qkv.{part}": value
        for part, value in {
            "lora_up.weight": torch.ones(3 * WIDTH, 1),
            "lora_down.weight": torch.ones(1, WIDTH),
        }.items()
    }
    inputs["lora"] = write_safetensors(tmp_path / "f.safetensors", dict(peft) | fused)
    with pytest.raises(InputError, match="two modules of the file are the same layer"):
        evaluate(flux, "A + lora", inputs=inputs)


def test_parts_that_depend_on_the_weight_change_their_own_rows(flux, evaluate, tmp_path, peft):
    """DoRA of outputs and of inputs, OFT, (IA)³: of q, k, v and the MLP apart, as their trainers see them."""
    draw = torch.Generator().manual_seed(3)
    pair, single = "transformer_blocks.1.attn", "single_transformer_blocks.0"
    q, k, oft, mlp = f"{pair}.to_q", f"{pair}.to_k", f"{single}.attn.to_k", f"{single}.proj_mlp"
    made = {f"transformer.{path}.{part}": peft[f"transformer.{path}.{part}"]
            for path in (q, k) for part in ("lora_A.weight", "lora_B.weight")}  # fmt: skip
    lengths = torch.rand(WIDTH, generator=draw) + 0.5
    made |= {
        f"transformer.{q}.lora_magnitude_vector": lengths,
        f"transformer.{k}.dora_scale": lengths[None].clone(),
    }
    blocks = torch.randn(WIDTH // 8, 8, 8, generator=draw) * 0.3
    made |= {f"transformer.{oft}.oft_blocks": blocks, f"transformer.{mlp}.on_input": torch.tensor(1)}
    made[f"transformer.{mlp}.weight"] = vector = torch.randn(WIDTH, generator=draw)
    inputs = {"A": flux.path("a-alone"), "lora": write_safetensors(tmp_path / "d.safetensors", made)}
    result, _ = evaluate(flux, "A + dora(A, 0.7*lora)", inputs=inputs, dtype="fp32")
    base = as_float64(flux.tensors["a"])
    wanted = {
        key: base[f"{key}.weight"].copy()
        for key in ("double_blocks.1.img_attn.qkv", "single_blocks.0.linear1")
    }
    g = lengths.double().numpy()
    for path, axis in ((q, 1), (k, 0)):
        key, (start, stop) = PARTS[path]
        rows = slice(start * WIDTH, stop * WIDTH)
        up, down = (made[f"transformer.{path}.lora_{side}.weight"].double().numpy() for side in "BA")
        total = wanted[key][rows] + up @ down
        scaled = total * np.expand_dims(g, axis) / np.linalg.norm(total, axis=axis, keepdims=True)
        wanted[key][rows] += 0.7 * (scaled - wanted[key][rows])
    turned = wanted["single_blocks.0.linear1"]
    for number, block in enumerate(blocks.double().numpy()):
        rows = slice(WIDTH + 8 * number, WIDTH + 8 * number + 8)
        skew = block - block.T
        turn = (np.eye(8) + skew) @ np.linalg.inv(np.eye(8) - skew)
        turned[rows] += 0.7 * (turn.T @ turned[rows] - turned[rows])
    turned[3 * WIDTH :] *= 1 + 0.7 * vector.double().numpy()
    for key, value in base.items():
        expected = wanted.get(key.removesuffix(".weight"), value)
        np.testing.assert_allclose(result[key].double().numpy(), expected, atol=2e-6, err_msg=key)


def test_biases_of_split_layers_are_put_together(flux, evaluate, tmp_path):
    raw = "transformer.transformer_blocks.1.attn.to_k"
    difference = torch.randn(WIDTH)
    path = write_safetensors(tmp_path / "b.safetensors", {f"{raw}.diff_b": difference})
    result, _ = evaluate(flux, "A + 0.5*lora", inputs={"A": flux.path("a-alone"), "lora": path}, dtype="fp32")
    key = "double_blocks.1.img_attn.qkv.bias"
    wanted = flux.tensors["a"][key].double().clone()
    wanted[WIDTH : 2 * WIDTH] += 0.5 * difference.double()
    torch.testing.assert_close(result[key].double(), wanted, rtol=0, atol=1e-6)


def test_differences_of_fused_biases_and_of_norms(flux, evaluate, tmp_path):
    raw, norm = "lora_unet_double_blocks_0_img_attn_qkv", "lora_unet_single_blocks_1_norm_key_norm"
    tensors = {f"{raw}.diff_b": torch.randn(3 * WIDTH), f"{norm}.w_norm": torch.randn(4)}
    inputs = {"A": flux.path("a-alone"), "lora": write_safetensors(tmp_path / "v.safetensors", tensors)}
    result, _ = evaluate(flux, "A + 0.5*lora@'D00=0.5'", inputs=inputs, dtype="fp32")
    bias, scale = "double_blocks.0.img_attn.qkv.bias", "single_blocks.1.norm.key_norm.scale"
    changed = {
        key for key, tensor in flux.tensors["a"].items() if not torch.equal(result[key], tensor.float())
    }
    assert changed == {bias, scale}
    base = {key: flux.tensors["a"][key].double() for key in changed}
    for key, difference in (
        (bias, 0.25 * tensors[f"{raw}.diff_b"]),
        (scale, 0.5 * tensors[f"{norm}.w_norm"]),
    ):
        wanted = base[key] + difference.double()
        torch.testing.assert_close(result[key].double(), wanted, rtol=1e-6, atol=1e-6)


def test_lokr_of_lycoris(flux, evaluate, tmp_path):
    """Kronecker products, fused as the trainer has them."""
    raw = "lora_unet_single_blocks_0_linear1"
    one, two, three = torch.randn(8, 8) * 0.1, torch.randn(84, 2) * 0.1, torch.randn(2, 12) * 0.1
    tensors = {f"{raw}.lokr_w1": one, f"{raw}.lokr_w2_a": two, f"{raw}.lokr_w2_b": three}
    tensors[f"{raw}.alpha"] = torch.tensor(1.0)
    inputs = {"A": flux.path("a-alone"), "lora": write_safetensors(tmp_path / "k.safetensors", tensors)}
    result, _ = evaluate(flux, "A + lora", inputs=inputs, dtype="fp32")
    key = "single_blocks.0.linear1.weight"
    base = flux.tensors["a"][key].double().numpy()
    change = 0.5 * np.kron(one.double().numpy(), (two.double() @ three.double()).numpy())
    np.testing.assert_allclose(result[key].double().numpy(), base + change, atol=1e-6)
