"""Comparisons against dense float64 arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.errors import InputError
from loralathe.families.sd1 import SD1
from loralathe.inspection import compare_files

Tensors = Mapping[str, torch.Tensor]
WIDTH = 32


@pytest.fixture(scope="module")
def checkpoints() -> tuple[Tensors, Tensors, Tensors]:
    """A base and two models near it that share a part of what they changed."""
    base = tiny_checkpoint("sd1", seed=1, width_divisor=WIDTH, dtype="F32")
    x = second_checkpoint(base, 0.01, 2)
    return base, x, second_checkpoint(x, 0.005, 3)


def flat(tensors: Tensors, block: str | None = None) -> np.ndarray:
    keys = [key for key in tensors if tensors[key].is_floating_point()]
    if block:
        keys = [key for key in keys if SD1.block_of_key(key) == block]
    return np.concatenate([tensors[key].double().numpy().ravel() for key in sorted(keys)])


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def files(tmp_path: Path, *models: Tensors) -> list[Path]:
    return [write_safetensors(tmp_path / f"{n}.safetensors", tensors) for n, tensors in enumerate(models)]


def test_weights(tmp_path: Path, checkpoints: tuple[Tensors, Tensors, Tensors]) -> None:
    _, x, y = checkpoints
    found = compare_files(*files(tmp_path, x, y))
    blocks = {block.block: block for block in found.blocks} | {"total": found.total}
    for name, block in (("MID", "MID"), ("OUT05", "OUT05"), ("total", None)):
        one, other = flat(x, block), flat(y, block)
        assert blocks[name].cosine == pytest.approx(cosine(one, other), abs=1e-5)
        assert blocks[name].ratio == pytest.approx(np.linalg.norm(other) / np.linalg.norm(one), rel=1e-5)
        difference = np.linalg.norm(one - other) / np.linalg.norm(one)
        assert blocks[name].difference == pytest.approx(difference, rel=1e-5)
    assert (found.of, found.family, found.identical) == ("weights", "sd1", False)
    assert found.total.up is None


def test_differences_from_a_base(tmp_path: Path, checkpoints: tuple[Tensors, Tensors, Tensors]) -> None:
    base, x, y = checkpoints
    paths = files(tmp_path, x, y, base)
    found = compare_files(*paths[:2], base=paths[2], rank=4)
    one, other = flat(x) - flat(base), flat(y) - flat(base)
    assert found.total.cosine == pytest.approx(cosine(one, other), abs=1e-4)
    assert found.total.ratio == pytest.approx(np.linalg.norm(other) / np.linalg.norm(one), rel=1e-4)
    middle = next(block for block in found.blocks if block.block == "MID")
    expected = mean_overlap(base, x, y, "MID", 4)
    assert (middle.up, middle.down) == pytest.approx(expected, abs=0.01)
    assert found.rank == 4


def mean_overlap(base: Tensors, x: Tensors, y: Tensors, block: str, rank: int) -> tuple[float, float]:
    """Mean over the modules of a block, by numpy's SVD, weighted as the documentation says."""
    ups, downs, weights = [], [], []
    for module in SD1.modules(base).values():
        if module.block != block or module.scope not in ("linear", "conv"):
            continue
        deltas = [(t[module.key] - base[module.key]).double().flatten(1).numpy() for t in (x, y)]
        (u1, _, v1), (u2, _, v2) = (np.linalg.svd(delta, full_matrices=False) for delta in deltas)
        count = min(rank, u1.shape[1])
        ups.append(np.square(u1[:, :count].T @ u2[:, :count]).sum() / count)
        downs.append(np.square(v1[:count] @ v2[:count].T).sum() / count)
        weights.append(np.linalg.norm(deltas[0]) * np.linalg.norm(deltas[1]))
    return float(np.average(ups, weights=weights)), float(np.average(downs, weights=weights))


def test_what_is_only_in_one_or_of_another_kind(
    tmp_path: Path, checkpoints: tuple[Tensors, Tensors, Tensors]
) -> None:
    base, _, _ = checkpoints
    other = dict(base)
    key = "model.diffusion_model.out.2.weight"
    del other["first_stage_model.quant_conv.weight"]
    other["extra.weight"] = torch.zeros(2)
    other[key] = other[key].half()
    other["model.diffusion_model.out.2.bias"] = torch.zeros(8)
    position = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    other[position] = other[position] + 1
    found = compare_files(*files(tmp_path, base, other))
    assert found.only_x == ("first_stage_model.quant_conv.weight",)
    assert found.only_y == ("extra.weight",)
    assert found.reshaped == ("model.diffusion_model.out.2.bias",)
    assert found.recast == 1
    assert found.unequal_integers == (position,)
    assert not found.identical
    assert found.total.equal == found.total.items - 1


def test_equal_files(tmp_path: Path, checkpoints: tuple[Tensors, Tensors, Tensors]) -> None:
    found = compare_files(*files(tmp_path, checkpoints[0], checkpoints[0]))
    assert found.identical
    assert (found.total.cosine, found.total.ratio, found.total.difference) == (1.0, 1.0, 0.0)


def test_files_of_no_known_family(tmp_path: Path) -> None:
    x = {"one.weight": torch.ones(3), "two.weight": torch.zeros(2)}
    y = {"one.weight": -torch.ones(3), "two.weight": torch.zeros(2)}
    found = compare_files(*files(tmp_path, x, y))
    blocks = {block.block: block for block in found.blocks}
    assert (blocks["one"].cosine, blocks["one"].difference) == (pytest.approx(-1.0), 2.0)
    assert (blocks["two"].cosine, blocks["two"].ratio, blocks["two"].equal) == (None, None, 1)


def dense(lora: Tensors, module: str) -> np.ndarray:
    up, down = lora[f"{module}.lora_up.weight"].double(), lora[f"{module}.lora_down.weight"].double()
    scale = float(lora[f"{module}.alpha"]) / down.shape[0]
    return scale * (up.flatten(1) @ down.flatten(1)).numpy()


def test_adapters(tmp_path: Path) -> None:
    x = tiny_lora("sd1", rank=4, alpha=2, seed=1, width_divisor=WIDTH)
    y = tiny_lora("sd1", rank=6, alpha=6, conv_rank=3, seed=2, width_divisor=WIDTH)
    found = compare_files(*files(tmp_path, x, y))
    modules = sorted(key.removesuffix(".alpha") for key in x if key.endswith(".alpha"))
    one, other = (np.concatenate([dense(lora, m).ravel() for m in modules]) for lora in (x, y))
    assert found.total.cosine == pytest.approx(cosine(one, other), abs=1e-6)
    assert found.total.ratio == pytest.approx(np.linalg.norm(other) / np.linalg.norm(one), rel=1e-5)
    assert found.total.difference == pytest.approx(
        np.linalg.norm(one - other) / np.linalg.norm(one), rel=1e-5
    )
    assert (len(found.only_x), found.total.items) == (0, len(modules))
    assert found.only_y
    assert found.of == "deltas"


def test_a_scaled_adapter_acts_on_the_same_directions(tmp_path: Path) -> None:
    x = tiny_lora("sd1", rank=4, alpha=4, seed=1, width_divisor=WIDTH, dtype="F32")
    y = {key: value * -0.5 if key.endswith("alpha") else value for key, value in x.items()}
    found = compare_files(*files(tmp_path, x, y))
    assert found.total.cosine == pytest.approx(-1.0, abs=1e-6)
    assert (found.total.ratio, found.total.difference) == (pytest.approx(0.5), pytest.approx(1.5))
    assert (found.total.up, found.total.down) == (pytest.approx(1.0), pytest.approx(1.0))


@pytest.mark.parametrize(
    ("x", "y", "base", "rank", "text"),
    [
        ("a", "l", None, None, "an adapter and a checkpoint cannot be compared"),
        ("l", "l", "a", None, "base belongs to checkpoints"),
        ("a", "a", None, 0, "rank 0 is too small"),
        ("a", "s", None, None, "different families"),
        ("a", "n", None, None, "NaN or Inf in the tensor 'model.diffusion_model.out.2.bias'"),
    ],
)
def test_refusals(tmp_path: Path, x: str, y: str, base: str | None, rank: int | None, text: str) -> None:
    tensors = tiny_checkpoint("sd1", seed=1, width_divisor=WIDTH)
    write_safetensors(tmp_path / "a.safetensors", tensors)
    write_safetensors(tmp_path / "s.safetensors", tiny_checkpoint("sdxl", seed=1)) if y == "s" else None
    lora = tiny_lora("sd1", rank=2, alpha=1, seed=1, width_divisor=WIDTH)
    write_safetensors(tmp_path / "l.safetensors", lora)
    broken = {
        **tensors,
        "model.diffusion_model.out.2.bias": torch.full((4,), float("nan"), dtype=torch.float16),
    }
    write_safetensors(tmp_path / "n.safetensors", broken)
    paths = [tmp_path / f"{name}.safetensors" for name in (x, y)]
    with pytest.raises(InputError, match=text.replace("(", r"\(")):
        compare_files(*paths, tmp_path / f"{base}.safetensors" if base else None, rank=rank)


def test_threads_do_not_change_results(tmp_path: Path, checkpoints: tuple[Tensors, Tensors, Tensors]) -> None:
    paths = files(tmp_path, *checkpoints)
    one = compare_files(*paths[:2], paths[2], threads=1)
    assert compare_files(*paths[:2], paths[2], threads=3) == one


def test_files_of_the_oldest_kind_are_compared_under_todays_names(
    tmp_path: Path, checkpoints: tuple[Tensors, Tensors, Tensors]
) -> None:
    base, x, _ = checkpoints
    begin = "cond_stage_model.transformer."
    old = {key.replace(f"{begin}text_model.", begin): tensor for key, tensor in base.items()}
    assert compare_files(*files(tmp_path, old, base)).identical
    found = compare_files(*files(tmp_path, old, x))
    assert (found.only_x, found.only_y) == ((), ())
    assert {block.block: block.items for block in found.blocks}["TE1"] == 196
