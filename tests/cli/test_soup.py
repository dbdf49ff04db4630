"""`lathe soup` without pictures: exact averages, their ranks, the order of epochs, mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

import loralathe
from checkpoints import tiny_lora, write_safetensors
from cli.conftest import WIDTH
from cli.kit import Run

NAMES = ("hina-000010", "hina-000020", "hina")


@pytest.fixture
def epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three epochs whose factors have nothing in common, with convolutions and alpha unlike the rank."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(NAMES):
        lora = tiny_lora("sd1", rank=3, alpha=2, conv_rank=2, seed=seed, width_divisor=WIDTH)
        write_safetensors(tmp_path / f"{name}.safetensors", lora, {"ss_output_name": "hina"})
    return [Path(f"{name}.safetensors") for name in NAMES]


def changes(path: Path) -> dict[str, NDArray[np.float64]]:
    """up · down · alpha / rank of each module, in float64."""
    tensors = {key: tensor.to(torch.float64).numpy() for key, tensor in load_file(path).items()}
    found = {}
    for key, down in tensors.items():
        name, _, part = key.partition(".lora_down")
        if part:
            up, alpha = tensors[f"{name}.lora_up.weight"], float(tensors[f"{name}.alpha"])
            product = up.reshape(len(up), -1) @ down.reshape(len(down), -1)
            found[name] = product * alpha / len(down)
    return found


def mean(files: list[Path], weights: tuple[float, ...]) -> dict[str, NDArray[np.float64]]:
    every = [changes(path) for path in files]
    return {name: sum(w * one[name] for w, one in zip(weights, every, strict=True)) for name in every[0]}


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "weights"),
    [
        ((), (1 / 3, 1 / 3, 1 / 3)),
        (("--weights", "1,0,3"), (0.25, 0, 0.75)),
        (("--ema", "0.5"), (1 / 7, 2 / 7, 4 / 7)),
    ],
)
def test_the_average_is_that_of_the_changes(
    epochs: list[Path], done: Run, words: tuple[str, ...], weights: tuple[float, ...]
) -> None:
    done("soup", *epochs, *words, "--save-dtype", "fp32", "--threads", "1")
    made, wanted = changes(Path("hina-soup.safetensors")), mean(epochs, weights)
    assert made.keys() == wanted.keys()
    for name, change in wanted.items():
        np.testing.assert_allclose(made[name], change, rtol=0, atol=3e-7 * np.abs(change).max())


def test_a_rank_cuts_as_the_exact_decomposition_does(epochs: list[Path], done: Run) -> None:
    done("soup", *epochs, "--rank", "2", "--save-dtype", "fp32", "--threads", "1")
    made, wanted = changes(Path("hina-soup.safetensors")), mean(epochs, (1 / 3,) * 3)
    for name, change in wanted.items():
        u, s, v = np.linalg.svd(change, full_matrices=False)
        best = np.linalg.norm(change - (u[:, :2] * s[:2]) @ v[:2])
        assert np.linalg.norm(change - made[name]) <= 1.001 * best + 1e-6 * s[0]


def test_the_order_is_that_of_the_names_however_they_are_given(epochs: list[Path], done: Run) -> None:
    done("soup", *reversed(epochs), "--ema", "0.5", "--save-dtype", "fp32", "--threads", "1")
    made, wanted = changes(Path("hina-soup.safetensors")), mean(epochs, (1 / 7, 2 / 7, 4 / 7))
    for name, change in wanted.items():
        np.testing.assert_allclose(made[name], change, rtol=0, atol=3e-7 * np.abs(change).max())


def test_a_plan_writes_nothing(epochs: list[Path], done: Run) -> None:
    result = done("soup", *epochs, "--ema", "0.5", "--dry-run")
    assert "hina-000020  0.2857" in result.stdout
    assert "would write hina-soup.safetensors" in result.stdout
    assert not Path("hina-soup.safetensors").exists()


def test_tensors_in_memory_are_averaged(epochs: list[Path]) -> None:
    held = [load_file(path) for path in epochs]
    made = loralathe.soup(*held, output="held.safetensors", save_dtype="fp32", threads=1)
    assert made.weights == (1 / 3,) * 3
    wanted = mean(epochs, made.weights)
    for name, change in changes(Path("held.safetensors")).items():
        np.testing.assert_allclose(change, wanted[name], rtol=0, atol=3e-7 * np.abs(wanted[name]).max())


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("hina.safetensors",), "made of several epochs"),
        (("hina.safetensors", "hina.safetensors"), "given twice"),
        ((*map("{}.safetensors".format, NAMES), "--weights", "1,2"), "2 weights are given for 3 epochs"),
        ((*map("{}.safetensors".format, NAMES), "--weights", "1,2,3", "--ema", "0.9"), "keep one of them"),
        ((*map("{}.safetensors".format, NAMES), "--card", "hina.card"), "name the checkpoint"),
        ((*map("{}.safetensors".format, NAMES), "--base", "a.safetensors"), "nothing tells how good"),
        ((*map("{}.safetensors".format, NAMES), "--weigh", "bleed"), "is no weight of a goal"),
    ],
)
def test_mistakes(epochs: list[Path], run: Run, words: tuple[str, ...], what: str) -> None:
    result = run("soup", *words)
    assert result.exit_code == 2
    assert what in result.output
