"""`lathe merge`: the formula it writes, the numbers it makes, the name it chooses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from cli.kit import Run
from loralathe.api.recipes import merge_recipe
from loralathe.language import render
from loralathe.strengths import read_argument

MODULE = "input_blocks_1_1_transformer_blocks_0_attn1_to_q"
KEY = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
LORA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
TE_KEY = "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight"
TE_LORA = "lora_te_text_model_encoder_layers_0_mlp_fc1"


FORMULAS = [
    (["hina.safetensors"], "base + hina", "base+hina1"),
    (["hina.safetensors:0.7"], "base + 0.7*hina", "base+hina0.7"),
    (["hina.safetensors:-0.7"], "base - 0.7*hina", "base+hina-0.7"),
    (["hina.safetensors:0.7:Face"], "base + 0.7*hina@Face", "base+hina0.7@Face"),
    (["hina.safetensors:OUTALL"], "base + hina@OUTALL", "base+hina1@OUTALL"),
    (["hina.safetensors:ALL0.5"], "base + hina@'ALL0.5'", "base+hina1@ALL0.5"),
    (["h.safetensors:1,0,0"], "base + h@'1,0,0'", "base+h1"),
    (["h.safetensors:0.7:te=0"], "base + h(te=0, unet=0.7)", "base+h0.7te0"),
    (
        ["h.safetensors:lbwe=IN01:attn1:0.5"],
        "base + h(elements='IN01:attn1:0.5')",
        "base+h1",
    ),
    (
        ["x/hina.safetensors:0.5", "y/hina.safetensors:0.5"],
        "base + 0.5*hina + 0.5*hina_2",
        "base+hina0.5+hina0.5",
    ),
    (["h.safetensors:0.5:INS", "h.safetensors:0.2:OUTS"], "base + 0.5*h@INS + 0.2*h@OUTS", None),
    (["Face.safetensors:Face"], "base + Face_2@Face", None),
    (["base.safetensors"], "base + base", None),
    (["ひな v2.safetensors:0.5"], "base + 0.5*ひな_v2", "base+ひな v20.5"),
]


@pytest.mark.parametrize(("words", "formula", "name"), FORMULAS, ids=lambda item: str(item)[:40])
def test_formulas_and_names(words: list[str], formula: str, name: str | None) -> None:
    specs = [read_argument(word) for word in words]
    recipe = merge_recipe(Path("base.safetensors"), specs, {"Face": "1"})
    assert render(recipe.steps["merged"]) == formula
    if name is not None:
        assert recipe.saves[0].file == Path(f"{name}.safetensors")


def test_an_output_may_be_chosen() -> None:
    specs = [read_argument("h.safetensors")]
    recipe = merge_recipe(Path("a.safetensors"), specs, {}, Path("m/x.safetensors"))
    assert recipe.saves[0].file == Path("m/x.safetensors")


def expected(models: Path, key: str, lora: str, strength: float) -> np.ndarray:
    """W + strength · alpha/rank · up·down in float64."""
    base, adapter = load_file(models / "a.safetensors"), load_file(models / "hina.safetensors")
    up = adapter[f"{lora}.lora_up.weight"].astype(np.float64)
    down = adapter[f"{lora}.lora_down.weight"].astype(np.float64)
    scale = float(adapter[f"{lora}.alpha"]) / down.shape[0]
    return base[key].astype(np.float64) + strength * scale * (up @ down)


def test_numbers_record_and_report(done: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "ergebnis mit Ümlaut.safetensors"
    shown = done(
        "merge", models / "a.safetensors", f"{models / 'hina.safetensors'}:0.8", "--te", "0.5", "-o", out
    ).stdout
    merged = load_file(out)
    np.testing.assert_allclose(merged[KEY], expected(models, KEY, LORA, 0.8), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(merged[TE_KEY], expected(models, TE_KEY, TE_LORA, 0.4), rtol=1e-3, atol=1e-6)
    assert "a + hina(te=0.4, unet=0.8)" in shown.splitlines()[0]
    assert "264 modules used" in shown
    with safe_open(out, "np") as file:
        record = json.loads(file.metadata()["loralathe"])
    assert record["steps"] == {"merged": "a + hina(te=0.4, unet=0.8)"}
    assert record["inputs"]["hina"]["file"] == "hina.safetensors"
    assert len(record["inputs"]["hina"]["sha256"]) == 64


def test_hashes_are_optional(done: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    done("merge", models / "a.safetensors", models / "hina.safetensors", "--no-hash", "-o", out)
    with safe_open(out, "np") as file:
        hina = json.loads(file.metadata()["loralathe"])["inputs"]["hina"]
    assert hina == {
        "file": "hina.safetensors",
        "size": (models / "hina.safetensors").stat().st_size,
    }


def test_lists_of_a_preset_file_are_used_and_recorded(done: Run, models: Path, tmp_path: Path) -> None:
    presets = tmp_path / "lbwpresets.txt"
    presets.write_text("FACE:0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1\nbroken line\n")
    out = tmp_path / "x.safetensors"
    result = done(
        "merge",
        models / "a.safetensors",
        f"{models / 'hina.safetensors'}:FACE",
        "--presets",
        presets,
        "-o",
        out,
    )
    assert "lathe: note: lbwpresets.txt, line 2: no ':' between name and list: broken line" in result.stderr
    assert np.array_equal(load_file(out)[KEY], load_file(models / "a.safetensors")[KEY])
    with safe_open(out, "np") as file:
        record = json.loads(file.metadata()["loralathe"])
    assert record["blocks"] == {"FACE": "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1"}


def test_missing_blocks_need_a_word(run: Run, done: Run, models: Path, tmp_path: Path) -> None:
    words = (
        "merge",
        models / "a.safetensors",
        f"{models / 'style.safetensors'}:INS",
        "-o",
        tmp_path / "x.safetensors",
    )
    seventeen = ",".join(["1"] * 17)
    words = ("merge", models / "a.safetensors", f"{models / 'style.safetensors'}:{seventeen}", *words[3:])
    refused = run(*words)
    assert refused.exit_code == 2
    assert "--missing-blocks" in refused.stderr
    done(*words, "--missing-blocks", "0")


def test_the_default_name_is_beside_the_base(done: Run, models: Path, tmp_path: Path) -> None:
    for name in ("a", "hina"):
        shutil.copy(models / f"{name}.safetensors", tmp_path)
    done("merge", tmp_path / "a.safetensors", f"{tmp_path / 'hina.safetensors'}:0.7", "-q")
    assert (tmp_path / "a+hina0.7.safetensors").is_file()


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "np") as file:
        return dict(file.metadata())


@pytest.mark.long
def test_metadata_in_supermergers_words(done: Run, run: Run, models: Path, tmp_path: Path) -> None:
    """new: what programs need, and the new name; all: the base's, and each input's whole, LoRAs too."""
    out, base, hina = tmp_path / "out.safetensors", models / "a.safetensors", models / "hina.safetensors"
    words = ("merge", base, hina, "-o", out, "--force", "-q", "--metadata")
    done(*words, "new")
    assert metadata_of(out).keys() == {"format", "loralathe", "modelspec.title"}
    assert metadata_of(out)["modelspec.title"] == "out"
    done(*words, "all")
    found = metadata_of(out)
    assert found["modelspec.title"] == "first"
    assert [json.loads(found[f"sshs_cp{n}"]) for n in (0, 1)] == [metadata_of(base), metadata_of(hina)]
    checked = done("verify", out, "--least", 1, "--share", 0, "--search", models).stdout
    assert "a sample of " in checked
    assert "other bits: not the bytes that this version writes" in " ".join(checked.split())
    refused = run(*words, "al")
    assert (refused.exit_code, "all" in refused.stderr.splitlines()[-1]) == (2, True)
    done("eval", "resize(hina, rank=2)", f"hina={hina}", "-o", out, "--force", "--metadata", "all")
    assert json.loads(metadata_of(out)["sshs_cp0"]) == metadata_of(hina), "of an adapter that a formula makes"
    done(
        "extract", models / "b.safetensors", base, "--rank", 1, "-o", out, "--force", "--metadata", "minimal"
    )
    assert {key[:3] for key in metadata_of(out)} <= {"ss_", "for", "ssh"}


def test_a_base_that_is_swapped_or_another(done: Run, models: Path, tmp_path: Path) -> None:
    """The record of a merged model tells what it was made from."""
    merged, other, out = (tmp_path / f"{name}.safetensors" for name in ("merged", "other", "x"))
    done("merge", models / "a.safetensors", models / "hina.safetensors", "-o", merged, "-q")
    swapped = done("extract", models / "a.safetensors", merged, "-o", out, "--dry-run").stderr
    assert "lathe: note: merged.safetensors was made from a.safetensors: swap them, or the LoRA" in swapped
    assert "was made from" not in done("extract", merged, models / "a.safetensors", "--dry-run").stderr
    shutil.copy(models / "c.safetensors", other)
    lines = done("extract", merged, other, "--rank", 1, "-o", out, "--json").stdout.splitlines()
    remarks = json.loads(lines[-1])["extractions"][0]["remarks"]
    assert remarks[0]["kind"] == "other base"
    assert remarks[0]["text"] == (
        "merged.safetensors was made from a.safetensors, and not from other.safetensors: "
        "the LoRA also holds what these two differ by"
    )
