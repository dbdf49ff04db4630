"""`lathe combine`, `lathe resize` and the rank options of `lathe extract`, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from cli.kit import Run

LORA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"
TE_LORA = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"


def delta(path: Path, name: str) -> np.ndarray:
    held = load_file(path)
    up, down = (held[f"{name}.lora_{part}.weight"].astype(np.float64) for part in ("up", "down"))
    scale = float(held[f"{name}.alpha"]) / down.shape[0]
    return scale * up.reshape(len(up), -1) @ down.reshape(len(down), -1)


def record_of(path: Path) -> dict[str, object]:
    with safe_open(path, "np") as file:
        record: dict[str, object] = json.loads(file.metadata()["loralathe"])
    return record


def test_combine_exactly(done: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.safetensors"
    hina, style = models / "hina.safetensors", models / "style.safetensors"
    shown = done(
        "combine", f"{hina}:-0.7:te=0.5", f"{style}:0.4", "--exclude", "OUT11", "--dtype", "fp32", "-o", out
    ).stdout
    assert "side by side, without loss" in shown
    np.testing.assert_allclose(
        delta(out, LORA), -0.7 * delta(hina, LORA) + 0.4 * delta(style, LORA), rtol=1e-5, atol=1e-8
    )
    np.testing.assert_allclose(
        delta(out, TE_LORA), 0.5 * delta(hina, TE_LORA) + 0.4 * delta(style, TE_LORA), rtol=1e-5, atol=1e-8
    )
    np.testing.assert_allclose(delta(out, CONV), 0.4 * delta(style, CONV), rtol=1e-5, atol=1e-8)
    assert not [key for key in load_file(out) if "up_blocks_3_attentions_2" in key], "OUT11"
    assert record_of(out)["steps"] == {
        "lora": "combine(hina(te=0.5, unet=-0.7, elements='OUT11::0') + 0.4*style(elements='OUT11::0'))"
    }


@pytest.mark.long
def test_a_combined_lora_merges_as_its_parts_do(done: Run, models: Path, tmp_path: Path) -> None:
    hina, style = models / "hina.safetensors", models / "style.safetensors"
    both, one, two = (tmp_path / f"{name}.safetensors" for name in ("both", "one", "two"))
    done(
        "combine",
        f"{hina}:0.7:INS",
        f"{style}:0.4",
        "--missing-blocks",
        "0",
        "--dtype",
        "fp32",
        "-o",
        both,
        "-q",
    )
    done("merge", models / "a.safetensors", both, "--dtype", "fp32", "-o", one, "-q")
    done(
        "merge", models / "a.safetensors", f"{hina}:0.7:INS", f"{style}:0.4",
        "--missing-blocks", "0", "--dtype", "fp32", "-o", two, "-q",
    )  # fmt: skip
    first, second = load_file(one), load_file(two)
    assert all(np.allclose(first[key], second[key], atol=1e-6) for key in first)


@pytest.mark.long
def test_names_and_formulas(done: Run, models: Path, tmp_path: Path) -> None:
    (tmp_path / "hina.safetensors").write_bytes((models / "hina.safetensors").read_bytes())
    hina = tmp_path / "hina.safetensors"
    for words, name in (
        (("resize", hina, "--rank", 2), "hina_r2"),
        (("resize", hina, "--size", "30kB"), "hina_30kB"),
        (("resize", hina, "--dynamic-method", "sv_ratio", "--dynamic-param", 2), "hina_ratio0.5"),
        (("combine", f"{hina}:0.5", "--rank", 2, "--metadata", "first"), "hina0.5_r2"),
        (("combine", f"{hina}:0.5"), "hina0.5"),
    ):
        done(*words, "-q")
        assert (tmp_path / f"{name}.safetensors").is_file(), name
    assert (tmp_path / "hina_30kB.safetensors").stat().st_size <= 30_000
    with safe_open(tmp_path / "hina_r2.safetensors", "np") as file:
        assert file.metadata()["ss_output_name"] == "hina_r2", "resize keeps what the file tells of itself"
    assert record_of(tmp_path / "hina_ratio0.5.safetensors")["steps"] == {"lora": "resize(hina, ratio=0.5)"}


EXTRACTIONS = [
    (["--rank", "8"], "extract(tuned - base, rank=8)"),
    ([], "extract(tuned - base, rank=64)"),
    (["--dim", "8", "--conv-dim", "4"], "extract(tuned - base, rank=8, conv_rank=4)"),
    (["--energy", "0.9"], "extract(tuned - base, energy=0.9)"),
    (["--size", "200kB", "--rank", "16", "--conv"], "extract(tuned - base, rank=16, size='200kB', conv=1)"),
    (["--mode", "full"], "extract(tuned - base, full=1)"),
    (["--mode", "fixed", "--linear-dim", "4"], "extract(tuned - base, rank=4)"),
    (["--mode", "ratio", "--linear-ratio", "0.1"], "extract(tuned - base, ratio=0.1)"),
    (
        ["--linear-quantile", "0.5", "--conv-quantile", "0.3"],
        "extract(tuned - base, quantile=0.5, conv_quantile=0.3)",
    ),
    (["--linear-threshold", "0.1", "--no-te1"], "extract(tuned - base, threshold=0.1, te1=0)"),
    (["--dynamic-method", "sv_fro", "--dynamic-param", "0.9"], "extract(tuned - base, fro=0.9)"),
    (["--alpha", "0.5", "--beta", "0.5"], "extract(0.5*tuned - 0.5*base, rank=64)"),
    (["--alpha", "1.5"], "extract(1.5*tuned - base, rank=64, unbalanced=1)"),
    (["--min-diff", "0.01"], "extract(tuned - base, rank=64, min_diff=0.01)"),
]


@pytest.mark.quick(6)
@pytest.mark.parametrize(("words", "formula"), EXTRACTIONS, ids=lambda item: " ".join(item)[:40])
def test_options_as_formulas(done: Run, models: Path, tmp_path: Path, words: list[str], formula: str) -> None:
    out = tmp_path / "x.safetensors"
    shown = done(
        "extract", models / "b.safetensors", models / "a.safetensors", *words, "-o", out, "--dry-run"
    ).stdout
    assert shown.splitlines()[0] == formula
    assert ("passes" in shown) == ("energy" in formula or "size" in formula)


def test_a_budget_is_reported(done: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    shown = done(
        "extract", models / "b.safetensors", models / "a.safetensors", "--energy", "0.5", "-o", out
    ).stdout
    assert "50 % of the energy: 50.0" in shown
    assert "cut to fit the budget" in shown
    assert "price" in shown
    plain = done("--help").stdout
    assert "combine" in plain


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["extract", "B", "A", "--mode", "ratio"], "--mode ratio needs its number"),
        (["extract", "B", "A", "--mode", "ratio", "--linear-fro", "0.5"], "needs its number"),
        (["extract", "B", "A", "--mode", "full", "--linear-fro", "0.5"], "do not go together"),
        (["extract", "B", "A", "--dynamic-method", "sv_fro"], "stand together"),
        (["extract", "B", "A", "--clamp-quantile", "0.99"], "left out on purpose"),
        (["extract", "B", "A", "--use-sparse-bias"], "no program reads"),
        (["extract", "B", "A", "--energy", "95"], "not a share of the difference"),
        (["resize", "A"], "resize needs the new size"),
    ],
)
def test_mistakes_are_explained(run: Run, models: Path, words: list[str], message: str) -> None:
    paths = {"A": models / "a.safetensors", "B": models / "b.safetensors"}
    result = run(*(paths.get(word, word) for word in words))
    assert result.exit_code == 2
    assert message in result.stderr
