"""`--device cuda`: the same factors as on the processor, from queues that run side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import second_checkpoint, tiny_checkpoint, write_safetensors
from loralathe.engine import Report, RunOptions, run_recipe
from loralathe.engine.device import on_gpu, prepare_worker
from loralathe.engine.workspace import Workspace
from loralathe.lowrank import randomized_svd
from loralathe.recipes import Save, make_recipe

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA or ROCm GPU; none is here")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("gpu")
    A = tiny_checkpoint("sd1", seed=1)
    paths = {name: folder / f"{name}.safetensors" for name in "AB"}
    write_safetensors(paths["A"], A)
    write_safetensors(paths["B"], second_checkpoint(A, 2e-3, seed=2))
    return paths


def extract(inputs: dict[str, Path], output: Path, **options: object) -> Report:
    recipe = make_recipe(
        inputs=inputs, steps={"lora": "extract(B - A, rank=8)"}, saves=[Save("lora", output, "fp32")]
    )
    return run_recipe(recipe, RunOptions(hash_inputs=False, **options))  # type: ignore[arg-type]


@needs_gpu
def test_factors_are_as_good_as_the_processors(inputs: dict[str, Path], tmp_path: Path) -> None:
    kept = {}
    for device in ("cpu", "cuda"):
        report = extract(inputs, tmp_path / f"{device}.safetensors", device=device)
        kept[device] = report.extractions[0].total()
    assert kept["cuda"].energy == kept["cpu"].energy
    assert kept["cuda"].kept == pytest.approx(kept["cpu"].kept, rel=1e-4)
    here, there = (load_file(tmp_path / f"{device}.safetensors") for device in ("cpu", "cuda"))
    assert {key: value.shape for key, value in here.items()} == {k: v.shape for k, v in there.items()}


@needs_gpu
def test_any_number_of_threads_gives_the_same_bytes(inputs: dict[str, Path], tmp_path: Path) -> None:
    for threads in (1, 4):
        extract(inputs, tmp_path / f"{threads}.safetensors", device="cuda", threads=threads)
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "4.safetensors").read_bytes()


@needs_gpu
@pytest.mark.parametrize("shape", [(640, 640), (1280, 5120), (5120, 1280)], ids=str)
def test_a_search_on_the_gpu_is_near_the_optimum(shape: tuple[int, int]) -> None:
    A = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    U, S, Vh = randomized_svd(A.cuda(), 32)
    best = float(torch.linalg.svdvals(A.double())[32:].norm())
    error = A.double() - (U.double() * S.double()).cpu() @ Vh.double().cpu()
    assert float(error.norm()) <= 1.01 * best


@needs_gpu
def test_a_worker_has_a_queue_of_its_own_and_pinned_memory() -> None:
    before = torch.cuda.current_stream()
    try:
        prepare_worker("cuda")
        assert torch.cuda.current_stream() != torch.cuda.default_stream()
        assert Workspace().get("delta", (3, 4), torch.float32, pinned=True).is_pinned()
    finally:
        torch.cuda.set_stream(before)


def test_without_a_gpu_nothing_is_pinned_and_no_queue_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> None:
        raise AssertionError("CUDA was touched")

    monkeypatch.setattr(torch.cuda, "set_stream", never)
    threads = torch.get_num_threads()
    try:
        prepare_worker("cpu")
    finally:
        torch.set_num_threads(threads)
    assert not on_gpu("cpu")
    assert not on_gpu("mps")
    assert on_gpu("cuda:1")
