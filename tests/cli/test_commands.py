"""The other commands that write files: their numbers against numpy, their plans and reports."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from cli.kit import Run

KEY = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight"
ARTICLE = """
[inputs]
A    = "{folder}/a.safetensors"
B    = "{folder}/b.safetensors"
hina = "{folder}/hina.safetensors"
[variables]
M = 0.7
[blocks]
Face = "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,1,1,1,1,1"
[steps]
A1    = "A + 0.7*hina@Face"
lora1 = "extract(A1 - A, rank=4)"
B2    = "B + 0.8*lora1 - M*(B - A)"
lora2 = "extract(B2 - B, rank=4)"
[save]
B2    = {{ file = "B2.safetensors", dtype = "fp32" }}
lora2 = "lora2.safetensors"
"""


def wide(models: Path, *names: str) -> list[np.ndarray]:
    return [load_file(models / f"{name}.safetensors")[KEY].astype(np.float64) for name in names]


def files(models: Path, *names: str) -> list[Path]:
    return [models / f"{name}.safetensors" for name in names]


def test_add_difference(done: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    done("add-difference", *files(models, "a", "b", "c"), "-m", "-0.7", "--dtype", "fp32", "-o", out)
    a, b, c = wide(models, "a", "b", "c")
    np.testing.assert_allclose(load_file(out)[KEY], a - 0.7 * (b - c), rtol=1e-6, atol=1e-8)


def test_weighted_sum(done: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    done("weighted-sum", *files(models, "a", "b"), "-m", "0.3", "--dtype", "fp32", "-o", out)
    a, b = wide(models, "a", "b")
    np.testing.assert_allclose(load_file(out)[KEY], 0.7 * a + 0.3 * b, rtol=1e-6, atol=1e-8)
    done("weighted-sum", *files(models, "a", "b"), "-m", "0", "-o", out, "--force")
    assert np.array_equal(load_file(out)[KEY].astype(np.float64), a)


def test_convert(run: Run, done: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    done("convert", models / "a.safetensors", "--dtype", "FP32", "-o", out)
    converted = load_file(out)
    assert converted[KEY].dtype == np.float32
    assert np.array_equal(converted[KEY], load_file(models / "a.safetensors")[KEY].astype(np.float32))
    assert run("convert", models / "a.safetensors", "--dtype", "source", "-o", out).exit_code == 2


def test_extract(done: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    shown = done("extract", *files(models, "b", "a"), "--rank", "4", "--conv-rank", "2", "-o", out).stdout
    lora = load_file(out)
    assert (
        lora["lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v.lora_down.weight"].shape[0]
        == 4
    )
    lines = shown.splitlines()
    assert lines[0] == "extract(tuned - base, rank=4, conv_rank=2)"
    header = next(line for line in lines if "kept %" in line)
    total = next(line for line in lines if line.strip().startswith("total")).split()
    columns = re.split(r"\s{2,}", header.strip())
    shares = [float(total[columns.index(name)].replace("–", "0").replace("<", ""))
              for name in ("kept %", "cut off %", "rounding %", "left out %")]  # fmt: skip
    assert sum(shares) == pytest.approx(100, abs=0.05)
    assert not any(line.endswith(" ") for line in lines)


def test_eval_with_variables_and_blocks(done: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    a, b, hina = files(models, "a", "b", "hina")
    formula = "B + hina@NoMid - M*(B - A)"
    done("eval", formula, f"A={a}", f"B={b}", f"hina={hina}", "--blocks", "NoMid=MID=0", "--set", "M=0.25",
         "--dtype", "fp32", "-o", out)  # fmt: skip
    one, other = wide(models, "a", "b")
    np.testing.assert_allclose(load_file(out)[KEY], other - 0.25 * (other - one), rtol=1e-6, atol=1e-8)


def test_names_that_the_formula_lacks_are_noted(done: Run, models: Path) -> None:
    a, hina = files(models, "a", "hina")
    words = ("A + 0.5*hina", f"A={a}", f"hina={hina}", "--dry-run")
    assert "note" not in done("eval", *words).stderr
    shown = done("eval", *words, f"B={a}", "--set", "M=3", "--blocks", "Face=IN04=0.3").stderr
    assert shown == "lathe: note: nothing that is saved uses B, M, Face\n"


def test_eval_without_files(run: Run) -> None:
    result = run("eval", "A + B")
    assert result.exit_code == 2
    assert "the formula has no files to work on" in result.stderr


@pytest.fixture
def article(models: Path, tmp_path: Path) -> Path:
    path = tmp_path / "article.toml"
    path.write_text(ARTICLE.format(folder=models.as_posix()))
    return path


@pytest.mark.long
def test_run_with_a_setting(done: Run, article: Path, models: Path) -> None:
    done("run", article, "--set", "M=0")
    with safe_open(article.parent / "B2.safetensors", "np") as file:
        assert json.loads(file.metadata()["loralathe"])["variables"] == {"M": 0.0}
        assert file.get_tensor(KEY).dtype == np.float32
    assert (article.parent / "lora2.safetensors").is_file()


def test_run_with_other_outputs(run: Run, done: Run, article: Path, tmp_path: Path) -> None:
    other = tmp_path / "other=name.safetensors"
    done("run", article, "-o", f"B2={other}", "--dry-run")
    result = run("run", article, "-o", "x.safetensors")
    assert "write -o B2=FILE or -o lora2=FILE" in result.stderr
    assert "did you mean 'lora2'?" in run("run", article, "-o", "lora3=x.safetensors").stderr


def test_dry_run_plans_and_writes_nothing(done: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    formula = "extract((A + 0.7*hina) - A, rank=4)"
    a, hina = files(models, "a", "hina")
    shown = done("eval", formula, f"A={a}", f"hina={hina}", "-o", out, "--dry-run").stdout
    assert "nothing: it cancels" in shown
    assert f"would write {out}" in shown
    assert list(tmp_path.iterdir()) == []


def test_outputs_are_not_replaced_unasked(run: Run, done: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    out.write_text("precious")
    words = ("convert", models / "a.safetensors", "--dtype", "bf16", "-o", out)
    refused = run(*words)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert out.read_text() == "precious"
    done(*words, "--force")


def test_quiet_says_nothing(done: Run, models: Path, tmp_path: Path) -> None:
    result = done(
        "convert", models / "a.safetensors", "--dtype", "bf16", "-o", tmp_path / "x.safetensors", "-q"
    )
    assert result.output == ""


def test_json_lines(done: Run, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    result = done("extract", *files(models, "b", "a"), "--rank", "2", "-o", out, "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[0]["event"] == "recipe"
    assert events[0]["steps"] == {"lora": "extract(tuned - base, rank=2)"}
    report = events[-1]
    assert report["event"] == "report"
    extraction = report["extractions"][0]
    total = extraction["total"]
    parts = total["kept"] + total["truncated"] + total["noise"] + total["outside"]
    assert parts == pytest.approx(total["energy"])
    assert extraction["path"] == str(out)
    assert "extract(tuned - base, rank=2)" in result.stderr


def test_memory_sizes(run: Run, done: Run, models: Path, tmp_path: Path) -> None:
    words = (
        "convert",
        models / "a.safetensors",
        "--dtype",
        "bf16",
        "-o",
        tmp_path / "x.safetensors",
        "--dry-run",
    )
    for text in ("2GB", "800MB", "1.5GiB", "2g", "900 mb"):
        done(*words, "--memory", text)
    for text in ("5", "x", "-1GB", "1KB"):
        assert run(*words, "--memory", text).exit_code == 2


@pytest.mark.parametrize("name", ["cpux", "cuda:99"])
def test_devices_that_are_not_there(run: Run, models: Path, name: str) -> None:
    result = run("extract", *files(models, "b", "a"), "--device", name, "--dry-run")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"lathe: error: the device '{name}' cannot be used\n  where: ")


WRITING = {
    "merge": "merge a.safetensors hina.safetensors:0.7",
    "extract": "extract b.safetensors a.safetensors --rank 2",
    "combine": "combine hina.safetensors style.safetensors --rank 2",
    "resize": "resize hina.safetensors --rank 2",
    "add-difference": "add-difference a.safetensors b.safetensors c.safetensors -m 1",
    "weighted-sum": "weighted-sum a.safetensors b.safetensors -m 0.5",
    "convert": "convert a.safetensors --dtype fp32",
    "eval": "eval A+0.7*hina A=a.safetensors hina=hina.safetensors",
}


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", WRITING)
@pytest.mark.long
def test_a_dry_run_shows_the_plan_although_the_output_exists(
    run: Run, done: Run, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(models)
    out = tmp_path / "new" / "folder" / "x.safetensors"
    words = [*WRITING[name].split(), "-o", out]
    planned = done(*words, "--dry-run")
    assert "exists" not in planned.stderr
    assert not (tmp_path / "new").exists()
    done(*words)
    before = out.read_bytes()
    again = done(*words, "--dry-run")
    assert again.stdout == planned.stdout
    assert f"lathe: note: {out} exists: replace it with --force\n" in again.stderr
    assert f"{out} exists and would be replaced\n" in done(*words, "--dry-run", "--force").stderr
    assert out.read_bytes() == before
    assert "the output exists" in run(*words).stderr


def test_a_dry_run_of_a_recipe_names_every_output_that_exists(
    done: Run, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "article.toml").write_text(ARTICLE.format(folder=models.as_posix()), encoding="utf-8")
    done("run", tmp_path / "article.toml")
    again = done("run", tmp_path / "article.toml", "--dry-run", "--json")
    found = json.loads(again.stdout.splitlines()[-1])["existing"]
    assert found == [str(tmp_path / "B2.safetensors"), str(tmp_path / "lora2.safetensors")]
    for file in found:
        assert f"{file} exists: replace it with --force" in again.stderr
