"""What runs on a GPU, run on a device that is only pretended: nothing is left on the wrong side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import second_checkpoint, tiny_checkpoint, write_safetensors
from loralathe.engine import RunOptions, run_recipe, workers
from loralathe.errors import InputError
from loralathe.language import Save, make_recipe
from loralathe.lowrank import SVD, exact_svd, nuclear_norm, randomized_svd
from pretended_gpu import DEVICE, There, Watch, pretended_gpu

SHAPES = [(50, 90), (300, 700), (700, 300)]
SEARCHES: list[Callable[[torch.Tensor], SVD]] = [
    lambda A: randomized_svd(A, 16),
    lambda A: randomized_svd(A * 1e-30, 16, seed=3, floor=1e-33),
    lambda A: exact_svd(A, 16),
]


def test_the_pretended_device_finds_what_is_on_the_wrong_side() -> None:
    here = torch.ones(2, 2)
    with pretended_gpu() as watch:
        there = here.to(DEVICE)
        assert (there + 1).device == DEVICE
        assert torch.equal((2 * there).cpu(), 2 * here)
        assert float(there.sum()) == 4.0
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(RuntimeError, match="same device"):
            torch.mm(there, here)
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(2, device=DEVICE, generator=torch.Generator())
        there.double()
    assert watch.operations > 5
    with pretended_gpu(float64=False), pytest.raises(TypeError, match="float64"):
        there.double()


@pytest.mark.parametrize("search", SEARCHES, ids=["random", "scaled", "exact"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_decompositions_stay_where_their_matrix_is(
    shape: tuple[int, int], search: Callable[[torch.Tensor], SVD]
) -> None:
    A = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    expected = search(A)
    with pretended_gpu():
        found = search(A.to(DEVICE))
        assert all(isinstance(part, There) for part in found)
        for part, known in zip(found, expected, strict=True):
            assert torch.allclose(part.cpu(), known, rtol=1e-4, atol=1e-4 * float(known.abs().max()))
        assert nuclear_norm(A.to(DEVICE)) == pytest.approx(nuclear_norm(A))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pretended")
    A = tiny_checkpoint("sd1", seed=1, width_divisor=64)
    paths = {name: folder / f"{name}.safetensors" for name in "AB"}
    write_safetensors(paths["A"], A)
    write_safetensors(paths["B"], second_checkpoint(A, 2e-3, seed=2))
    return paths


@pytest.fixture
def workers_there(monkeypatch: pytest.MonkeyPatch) -> list[Watch]:
    """Worker threads find the pretended device, too."""
    watches: list[Watch] = []
    prepare = workers.prepare_worker

    def prepared(device: str) -> None:
        prepare(device)
        watches.append(Watch(float64=True))
        watches[-1].__enter__()  # until the thread ends

    monkeypatch.setattr(workers, "prepare_worker", prepared)
    return watches


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "options",
    [
        "rank=4, conv_rank=2",
        pytest.param("quantile=0.3, rank=8, exact=True", marks=pytest.mark.slow),
        "energy=0.5",
    ],
    ids=str,
)
@pytest.mark.long
def test_an_extraction_is_the_processors(
    inputs: dict[str, Path], tmp_path: Path, workers_there: list[Watch], options: str
) -> None:
    saved = {}
    for device in ("cpu", str(DEVICE)):
        path = tmp_path / f"{device}.safetensors"
        recipe = make_recipe(
            inputs=inputs, steps={"lora": f"extract(B - A, {options})"}, saves=[Save("lora", path, "fp32")]
        )
        with pretended_gpu():
            run_recipe(recipe, RunOptions(device=device, threads=2, hash_inputs=False))
        saved[device] = load_file(path)
        assert any(watch.operations for watch in workers_there) == (device != "cpu")
    here, there = saved.values()
    assert here.keys() == there.keys()
    for name in here:
        if name.endswith(".lora_up.weight"):
            down = name.replace(".lora_up.", ".lora_down.")
            delta, other = (side[name].flatten(1) @ side[down].flatten(1) for side in (here, there))
            assert float((delta - other).norm()) <= 1e-3 * float(delta.norm())


def test_a_device_without_float64_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    """Apple's GPUs: the search would fail at its first Gram matrix."""
    recipe = make_recipe(
        inputs=inputs, steps={"lora": "extract(B - A)"}, saves=[Save("lora", tmp_path / "x.safetensors")]
    )
    with pretended_gpu(float64=False), pytest.raises(InputError, match="cannot be used") as caught:
        run_recipe(recipe, RunOptions(device=str(DEVICE)))
    assert "float64" in str(caught.value.where)
