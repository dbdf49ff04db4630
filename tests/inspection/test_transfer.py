"""A LoRA for another base: the map of blocks, the new file, the score, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import loralathe
from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.errors import InputError
from loralathe.inspection.origins import monotone_assignment

Tensors = dict[str, torch.Tensor]


def deeper(base: Tensors, sources: Sequence[int], silent: Collection[int] = ()) -> Tensors:
    """Flux with other single blocks, each made from one of the base's; `silent` ones write nothing yet."""
    made: Tensors = {}
    for key, tensor in base.items():
        found = re.fullmatch(r"(single_blocks\.)(\d+)(\..*)", key)
        if found is None:
            made[key] = tensor
            continue
        for number, source in enumerate(sources):
            if source == int(found[2]):
                off = number in silent and found[3].startswith(".linear2")
                made[f"{found[1]}{number}{found[3]}"] = torch.zeros_like(tensor) if off else tensor
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    base = tiny_checkpoint("flux-alone", seed=1)
    deep = second_checkpoint(deeper(base, [0, 0, 1, 2, 2], silent=[1, 4]), 0.005, seed=3)
    for name, tensors in {
        "A": base,
        "deep": deep,
        "tuned": second_checkpoint(base, 0.003, seed=4),
        "far": second_checkpoint(base, 0.02, seed=4),
        "stranger": tiny_checkpoint("flux-alone", seed=9),
        "sd1": tiny_checkpoint("sd1", seed=1),
        "hina": tiny_lora("flux-alone", rank=4, alpha=2, seed=5),
    }.items():
        write_safetensors(folder / f"{name}.safetensors", tensors, {"ss_output_name": name})
    return folder


def test_the_map_of_a_deeper_base_is_found(folder: Path) -> None:
    found = loralathe.fitting(*(folder / f"{name}.safetensors" for name in ("hina", "A", "deep")))
    moving = [stack for stack in found.stacks if stack.moves]
    assert [stack.path for stack in moving] == ["unet.single_blocks.#"]
    assert [one.source for one in moving[0].origins] == [0, 0, 1, 2, 2]
    assert moving[0].depths == (3, 5)
    assert all(one.next < 0.1 for one in moving[0].origins)


def test_factors_move_to_the_blocks_that_came_from_theirs(folder: Path, tmp_path: Path) -> None:
    made = loralathe.transfer(
        *(folder / f"{name}.safetensors" for name in ("hina", "A", "deep")),
        output=tmp_path / "out.safetensors",
    )
    assert made.file is not None
    old, new = load_file(folder / "hina.safetensors"), load_file(made.file)
    wanted = {}
    for key, tensor in old.items():
        found = re.fullmatch(r"(lora_unet_single_blocks_)(\d+)(_.*)", key)
        if found is None:
            wanted[key] = tensor
            continue
        for number, source in enumerate([0, 0, 1, 2, 2]):
            # What a new block writes with is no copy, and gets nothing of the LoRA.
            if source == int(found[2]) and not (number in (1, 4) and "linear2" in key):
                wanted[f"{found[1]}{number}{found[3]}"] = tensor
    assert new.keys() == wanted.keys()
    assert all(torch.equal(new[key], wanted[key]) for key in wanted)
    assert loralathe.inspect(made.file).metadata["ss_output_name"] == "hina"
    with pytest.raises(InputError, match=r"A\.safetensors has 3 blocks, and the LoRA has more"):
        loralathe.fitting(made.file, folder / "A.safetensors", folder / "deep.safetensors")


def test_a_score_is_that_of_its_formula(folder: Path) -> None:
    found = loralathe.fitting(*(folder / f"{name}.safetensors" for name in ("hina", "A", "far")))
    a, b, lora = (load_file(folder / f"{name}.safetensors") for name in ("A", "far", "hina"))
    energies, shares = [], []
    for raw in {key.partition(".")[0] for key in lora}:
        if "single_blocks_1_" not in raw:
            continue
        key = re.sub(r"^lora_unet_(single_blocks)_(\d)_", r"\1.\2.", raw).replace(
            "modulation_", "modulation."
        )
        up, down = (lora[f"{raw}.lora_{part}.weight"].double().numpy() for part in ("up", "down"))
        u, s, vh = np.linalg.svd(up @ down / 2, full_matrices=False)
        u, s, vh = u[:, :4], s[:4], vh[:4]
        x, y = (weights[f"{key}.weight"].double().numpy() for weights in (a, b))
        both = [_cosines(x @ vh.T, y @ vh.T), _cosines(x.T @ u, y.T @ u)]
        energies.append((s**2).sum())
        shares.append((s**2 * (both[0] + both[1]) / 2).sum())
    block = next(one for one in found.blocks if one.block == "S01")
    assert block.layers == 3
    assert block.shared == pytest.approx(sum(shares) / sum(energies), abs=1e-5)


def _cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x * y).sum(0) / np.linalg.norm(x, axis=0) / np.linalg.norm(y, axis=0)


def test_nothing_moves_between_bases_of_one_depth(folder: Path, tmp_path: Path) -> None:
    scores = {}
    for name in ("A", "tuned", "far"):
        made = loralathe.transfer(
            folder / "hina.safetensors",
            folder / "A.safetensors",
            folder / f"{name}.safetensors",
            output=tmp_path / "none.safetensors",
        )
        assert made.file is None
        scores[name] = made.fitting.total.shared
    assert scores["A"] == pytest.approx(1.0, abs=1e-6)
    assert scores["A"] > scores["tuned"] > 0.99 > scores["far"] > 0.5
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("hina", "A", "stranger"), "the bases are strangers"),
        (("hina", "A", "sd1"), "the bases are of different families"),
        (("A", "A", "deep"), "this is not a LoRA"),
        (("hina", "hina", "deep"), "this is a LoRA, not a checkpoint"),
    ],
)
def test_what_is_refused(folder: Path, names: tuple[str, str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        loralathe.fitting(*(folder / f"{name}.safetensors" for name in names))


@pytest.mark.parametrize("seed", range(12))
def test_the_assignment_is_the_best_of_all(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 9, generator.integers(1, 6, 2)).tolist()

    def every(columns: int, least: int = 0) -> list[list[int]]:
        if not columns:
            return [[]]
        return [[row, *rest] for row in range(least, len(scores)) for rest in every(columns - 1, row)]

    found = monotone_assignment(scores)
    assert found == sorted(found)
    best = max(sum(scores[row][i] for i, row in enumerate(rows)) for rows in every(len(scores[0])))
    assert sum(scores[row][i] for i, row in enumerate(found)) == best


def test_anima_of_28_blocks_goes_to_one_of_40(tmp_path: Path) -> None:
    """Two families by their block lists, of one structure; the new blocks lie between the old ones."""
    sources = sorted([*range(28), *range(5, 17)])
    shallow = tiny_checkpoint("anima", seed=1)
    inside = {key: tensor for key, tensor in shallow.items() if key.startswith("blocks.0.")}
    base = {key: tensor for key, tensor in shallow.items() if not key.startswith("blocks.")}
    deep = dict(base)
    for number in range(28):
        block = second_checkpoint(inside, 0.05, seed=number)
        base |= {key.replace("blocks.0.", f"blocks.{number}."): tensor for key, tensor in block.items()}
    for number, source in enumerate(sources):
        for key in inside:
            deep[key.replace("blocks.0.", f"blocks.{number}.")] = base[
                key.replace("blocks.0.", f"blocks.{source}.")
            ]
    lora = {}
    for number in (4, 9, 27):
        out, width = base[f"blocks.{number}.self_attn.q_proj.weight"].shape
        lora[f"diffusion_model.blocks.{number}.self_attn.q_proj.lora_A.weight"] = torch.ones(2, width)
        lora[f"diffusion_model.blocks.{number}.self_attn.q_proj.lora_B.weight"] = torch.full(
            (out, 2), float(number)
        )
    paths = [tmp_path / f"{name}.safetensors" for name in ("hina", "a28", "b40")]
    for path, tensors in zip(paths, (lora, base, second_checkpoint(deep, 0.003, seed=50)), strict=True):
        write_safetensors(path, tensors)
    made = loralathe.transfer(*paths, output=tmp_path / "out.safetensors")
    assert made.file is not None
    assert made.fitting.numbers == {"unet.blocks.#": sources}
    found = {
        int(key.split(".")[2]): float(tensor[0, 0])
        for key, tensor in load_file(made.file).items()
        if "lora_B" in key
    }
    assert found == {new: float(old) for new, old in enumerate(sources) if old in (4, 9, 27)}
    assert loralathe.inspect(made.file).family == "anima-40"
