"""The Checkpoint Merger's commands against numpy, with its options; inpainting models included."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch

from checkpoints import tiny_checkpoint, write_safetensors
from cli.kit import Run

WIDTH = 32
CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"
VAE = "first_stage_model."


def by_hand(formula: str, m: float, *models: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add difference or Weighted sum as A1111 defines them, in float64 and rounded once.

    Where A has more input channels (9 for inpainting, 8 for instruct-pix2pix), the first 4 take part.
    """
    found = {}
    for key, a in models[0].items():
        if not np.issubdtype(a.dtype, np.floating):
            found[key] = a
            continue
        parts = [model[key].astype(np.float64) for model in models]
        whole = parts[0].copy()
        inner = whole[:, :4] if key == CONV_IN else whole[...]
        parts[0] = inner.copy()
        if formula == "difference":
            inner[...] = parts[0] + m * (parts[1] - parts[2])
        else:
            inner[...] = (1 - m) * parts[0] + m * parts[1]
        found[key] = whole.astype(a.dtype)
    return found


def close(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """Within one unit in the last place of fp16, and the same nearly everywhere.

    Not quite: 0.3 times five steps of fp16 is a step and a half, a tie that no binary 0.3 hits exactly.
    """
    assert found.keys() == wanted.keys()
    unequal = total = 0
    for key, expected in wanted.items():
        assert found[key].dtype == expected.dtype
        if found[key].dtype == np.float16:
            np.testing.assert_array_max_ulp(found[key], expected, maxulp=1)
            unequal += int((found[key] != expected).sum())
            total += expected.size
        else:
            np.testing.assert_array_equal(found[key], expected)
    assert unequal <= 0.02 * total


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """An inpainting model (9 channels) and an instruct-pix2pix model (8)."""
    folder = tmp_path_factory.mktemp("wide")
    tensors = tiny_checkpoint("sd1-inpainting", seed=11, width_divisor=WIDTH)
    paths = {9: write_safetensors(folder / "nine.safetensors", tensors)}
    tensors[CONV_IN] = tensors[CONV_IN][:, :8].contiguous()
    paths[8] = write_safetensors(folder / "eight.safetensors", tensors)
    return paths


@pytest.mark.quick(2)
@pytest.mark.parametrize("channels", [4, 8, 9])
@pytest.mark.parametrize("m", [0.3, 1.0, -0.75])
def test_add_difference(
    done: Run, models: Path, wide: dict[int, Path], tmp_path: Path, channels: int, m: float
) -> None:
    first = wide.get(channels, models / "a.safetensors")
    out = tmp_path / "out.safetensors"
    b, c = models / "b.safetensors", models / "c.safetensors"
    done("add-difference", first, b, c, "-m", m, "-o", out, "--no-hash", "--threads", 1)
    found = load_file(out)
    close(found, by_hand("difference", m, *map(load_file, (first, b, c))))
    np.testing.assert_array_equal(found[CONV_IN][:, 4:], load_file(first)[CONV_IN][:, 4:])


@pytest.mark.quick(1)
@pytest.mark.parametrize("channels", [4, 8, 9])
def test_weighted_sum(done: Run, models: Path, wide: dict[int, Path], tmp_path: Path, channels: int) -> None:
    first = wide.get(channels, models / "a.safetensors")
    out, b = tmp_path / "out.safetensors", models / "b.safetensors"
    done("weighted-sum", first, b, "-m", 0.35, "-o", out, "--no-hash", "--threads", 1)
    close(load_file(out), by_hand("sum", 0.35, load_file(first), load_file(b)))


@pytest.mark.parametrize("channels", [8, 9])
def test_the_wider_model_must_come_first(
    run: Run, models: Path, wide: dict[int, Path], tmp_path: Path, channels: int
) -> None:
    out = tmp_path / "out.safetensors"
    for words in (
        ("weighted-sum", models / "a.safetensors", wide[channels], "-m", 0.5),
        ("add-difference", models / "a.safetensors", wide[channels], models / "b.safetensors", "-m", 1),
    ):
        result = run(*words, "-o", out)
        assert result.exit_code == 2
        assert "put 'B' first: the result is then " in result.stderr


def test_everything_at_once(done: Run, models: Path, tmp_path: Path) -> None:
    """Pickled B, a baked VAE, discarded tensors, fp32, metadata of all and by hand, a config."""
    b = tmp_path / "b.ckpt"
    torch.save({"state_dict": load_torch(models / "b.safetensors")}, b)
    b.with_suffix(".yaml").write_text("model: {}\n")
    (tmp_path / "more.json").write_text('{"note": "mine", "steps": [1, 2]}', "utf-8")
    out = tmp_path / "out.safetensors"
    done(
        "add-difference", models / "a.safetensors", b, models / "c.safetensors", "-m", 0.5, "-o", out,
        "--bake-vae", models / "c.safetensors", "--discard", r"\.norm\d?\.bias$", "--dtype", "fp32",
        "--metadata", "merge", "--metadata-json", tmp_path / "more.json", "--copy-config", "B",
    )  # fmt: skip
    found, c = load_file(out), load_file(models / "c.safetensors")
    assert not any(key.endswith((".norm.bias", ".norm1.bias")) for key in found)
    for key, value in found.items():
        if key.startswith(VAE):
            np.testing.assert_array_equal(value, c[key].astype(value.dtype))
        assert value.dtype in (np.float32, np.int64)
    with safe_open(out, "np") as file:
        metadata = file.metadata()
    assert metadata["modelspec.title"] == "first"
    assert (metadata["note"], metadata["steps"]) == ("mine", "[1, 2]")
    record = json.loads(metadata["loralathe"])
    assert record["inputs"][record["options"]["vae"]]["file"] == "c.safetensors"
    assert record["inputs"]["B"]["file"] == "b.ckpt"
    assert out.with_suffix(".yaml").read_text() == "model: {}\n"


def test_convert_makes_safetensors_of_a_ckpt(done: Run, run: Run, models: Path, tmp_path: Path) -> None:
    """'No interpolation' of the web UIs."""
    tensors = load_torch(models / "a.safetensors")
    torch.save({"state_dict": tensors, "epoch": 1}, tmp_path / "a.ckpt")
    done("convert", tmp_path / "a.ckpt")
    made = load_torch(tmp_path / "a.safetensors")
    assert made.keys() == tensors.keys()
    assert all(torch.equal(made[key], tensor) for key, tensor in tensors.items())
    assert run("convert", tmp_path / "a.safetensors").exit_code == 2
    done(
        "convert",
        tmp_path / "a.ckpt",
        "--bake-vae",
        models / "c.safetensors",
        "--metadata-json",
        '{"a": "b"}',
    )
    assert (tmp_path / "a+c.safetensors").exists()
    shown = done("inspect", tmp_path / "a.ckpt", "--hash")
    assert "pickle of torch.save, read as data; not read: epoch" in shown.stdout
    assert "sshs_model_hash" not in shown.stdout


def test_merge_and_eval_take_them_too(done: Run, models: Path, tmp_path: Path) -> None:
    hina, c = models / "hina.safetensors", models / "c.safetensors"
    wanted = load_file(c)[f"{VAE}quant_conv.weight"]
    for number, words in enumerate((
        ("merge", models / "a.safetensors", f"{hina}:0.5"),
        ("eval", "A + 0.5*h", f"A={models / 'a.safetensors'}", f"h={hina}"),
    )):  # fmt: skip
        out = tmp_path / f"{number}.safetensors"
        done(*words, "--bake-vae", c, "--metadata", "none", "--discard", "^cond_stage", "-o", out)
        found = load_file(out)
        np.testing.assert_array_equal(found[f"{VAE}quant_conv.weight"], wanted)
        assert not any(key.startswith("cond_stage") for key in found)
        with safe_open(out, "np") as file:
            assert set(file.metadata()) == {"format", "loralathe"}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("{bad", "the metadata is not JSON"),
        ("nowhere.json", "no such file"),
        ("{}", None),
    ],
)
def test_metadata_in_json(run: Run, models: Path, tmp_path: Path, given: str, what: str | None) -> None:
    out = tmp_path / "out.safetensors"
    result = run("convert", models / "a.safetensors", "--dtype", "bf16", "--metadata-json", given, "-o", out)
    assert (result.exit_code, out.exists()) == ((2, False) if what else (0, True))
    if what:
        assert what in result.stderr
