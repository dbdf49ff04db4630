"""`keep_norm`: factors as long as the whole difference, against float64; ranks and directions stay."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import loralathe
from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors

RNG = np.random.default_rng(11)
SPECTRUM = np.array([8.0, 4.0, 2.0, 1.0])


def lora(folder: Path) -> Path:
    """A LoRA of four known singular values in each of two layers, in fp32."""
    tensors = {}
    for name, size in (("q", 64), ("k", 48)):
        left, right = (np.linalg.qr(RNG.normal(size=(size, 4)))[0] for _ in range(2))
        raw = f"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_{name}"
        tensors[f"{raw}.lora_up.weight"] = (left * SPECTRUM).astype(np.float32)
        tensors[f"{raw}.lora_down.weight"] = np.ascontiguousarray(right.T).astype(np.float32)
        tensors[f"{raw}.alpha"] = np.array(4.0, dtype=np.float32)
    path = folder / "hina.safetensors"
    save_file(tensors, path)
    return path


def products(path: Path) -> Iterator[np.ndarray]:
    """up·down·alpha/rank of each module, in float64."""
    tensors = load_file(path)
    for key in sorted(tensors):
        if key.endswith("lora_up.weight"):
            name = key.removesuffix(".lora_up.weight")
            up, down = (tensors[f"{name}.lora_{part}.weight"].astype(np.float64) for part in ("up", "down"))
            up, down = up.reshape(len(up), -1), down.reshape(len(down), -1)
            yield up @ down * (float(tensors[f"{name}.alpha"]) / up.shape[1])


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_product_is_as_long_as_the_whole(tmp_path: Path, rank: int) -> None:
    given = lora(tmp_path)
    kept, plain = tmp_path / "kept.safetensors", tmp_path / "plain.safetensors"
    loralathe.resize(given, {"rank": rank, "keep_norm": True}, dtype="fp32", output=kept)
    loralathe.resize(given, {"rank": rank}, dtype="fp32", output=plain)
    gain = math.sqrt((SPECTRUM**2).sum() / (SPECTRUM[:rank] ** 2).sum())
    for whole, stretched, cut in zip(*map(products, (given, kept, plain)), strict=True):
        assert np.linalg.norm(stretched) == pytest.approx(np.linalg.norm(whole), rel=1e-5)
        np.testing.assert_allclose(stretched, gain * cut, atol=1e-4)
    assert loralathe.verify(kept, {"hina": given}).ok
    sizes = [path.stat().st_size for path in (plain, kept)]
    assert sizes[0] <= sizes[1] <= sizes[0] + 64, "only the recipe is longer"


def test_a_budget_chooses_the_same_directions(tmp_path: Path) -> None:
    given = lora(tmp_path)
    kept, plain = tmp_path / "kept.safetensors", tmp_path / "plain.safetensors"
    loralathe.resize(given, {"energy": 0.9, "keep_norm": True}, dtype="fp32", output=kept)
    loralathe.resize(given, {"energy": 0.9}, dtype="fp32", output=plain)
    for whole, stretched, cut in zip(*map(products, (given, kept, plain)), strict=True):
        assert np.linalg.norm(stretched) == pytest.approx(np.linalg.norm(whole), rel=1e-5)
        factor = np.linalg.norm(whole) / np.linalg.norm(cut)
        np.testing.assert_allclose(stretched, factor * cut, atol=1e-4)
    assert loralathe.verify(kept, {"hina": given}).ok


def test_what_rounding_of_the_files_explains_is_not_made_up_for(tmp_path: Path) -> None:
    """The difference of fp16 files is longer than what was merged, by the noise of their rounding."""
    base, given = tmp_path / "A.safetensors", tmp_path / "hina.safetensors"
    made, out = tmp_path / "T.safetensors", tmp_path / "lora.safetensors"
    write_safetensors(base, tiny_checkpoint("sd1", seed=1, std=1.0))
    write_safetensors(given, tiny_lora("sd1", rank=4, alpha=4.0, seed=2, std=0.03))
    loralathe.merge(base, given, output=made)
    loralathe.extract(made, base, rank=1, keep_norm=True, dtype="fp32", output=out)
    lengths = [np.linalg.norm(product) for product in products(given)]
    assert [np.linalg.norm(product) for product in products(out)] == pytest.approx(lengths, rel=0.05)
    assert loralathe.verify(out, {"tuned": made, "base": base}).ok
