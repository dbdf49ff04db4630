"""`--device cuda`: the same factors as on the processor, from queues that run side by side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import second_checkpoint, tiny_checkpoint, write_safetensors
from loralathe.engine import Report, RunOptions, Workspace, full_precision, run_recipe
from loralathe.engine.workers import on_gpu, prepare_worker
from loralathe.language import Save, make_recipe
from loralathe.lowrank import randomized_svd
from loralathe.verification import VerifyOptions, verify_file

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA or ROCm GPU; none is here")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("gpu")
    A = tiny_checkpoint("sd1", seed=1)
    paths = {name: folder / f"{name}.safetensors" for name in "AB"}
    write_safetensors(paths["A"], A)
    write_safetensors(paths["B"], second_checkpoint(A, 2e-3, seed=2))
    return paths


def extract(inputs: dict[str, Path], output: Path, how: str = "rank=8", **options: object) -> Report:
    recipe = make_recipe(
        inputs=inputs, steps={"lora": f"extract(B - A, {how})"}, saves=[Save("lora", output, "fp32")]
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
    apart = norm = 0.0
    for up in (key for key in here if key.endswith(".lora_up.weight")):
        down = up.replace(".lora_up.", ".lora_down.")
        delta, other = (
            side[up].flatten(1).double() @ side[down].flatten(1).double() for side in (here, there)
        )
        apart += float((delta - other).square().sum())
        norm += float(delta.square().sum())
    # Noise has no gaps between its singular values: at the cut the two may take other directions.
    assert apart <= 0.05 * norm


@needs_gpu
def test_what_a_gpu_made_is_as_recorded(inputs: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    extract(inputs, path, device="cuda", threads=4)
    found = verify_file(path, search=[inputs["A"].parent], options=VerifyOptions(everything=True))
    assert found.ok, found.findings[:5]
    assert found.exact


@needs_gpu
def test_the_first_decomposition_of_a_process_is_not_two_threads(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    """torch loads its decompositions at their first use, so this needs a process that has had none."""
    output = tmp_path / "x.safetensors"
    words = [sys.executable, "-m", "loralathe.cli", "extract", str(inputs["B"]), str(inputs["A"])]
    words += ["-o", str(output), "--rank", "4", "--device", "cuda", "--threads", "8"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert output.exists()


@needs_gpu
def test_products_are_of_whole_fp32_numbers_whatever_the_process_is_set_to() -> None:
    A = torch.randn(512, 512, generator=torch.Generator().manual_seed(0))
    torch.set_float32_matmul_precision("high")
    try:
        with full_precision():
            found = (A.cuda() @ A.cuda()).cpu()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert float((found - A.double() @ A.double()).abs().max()) < 1e-3  # with TF32 about 0.05


@needs_gpu
@pytest.mark.parametrize("options", ["rank=8, conv_rank=4", "rank=8, exact=True", "size=200000"], ids=str)
def test_any_number_of_threads_gives_the_same_bytes(
    inputs: dict[str, Path], tmp_path: Path, options: str
) -> None:
    # Of one name, which is in the metadata.
    paths = [tmp_path / str(threads) / "lora.safetensors" for threads in (1, 4, 4)]
    for path, threads in zip(paths, (1, 4, 4), strict=True):
        path.parent.mkdir(exist_ok=True)
        extract(inputs, path, options, device="cuda", threads=threads, force=True)
    one, *others = (path.read_bytes() for path in paths)
    assert others == [one, one]


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
    before, threads = torch.cuda.current_stream(), torch.get_num_threads()
    try:
        prepare_worker("cuda")
        assert torch.cuda.current_stream() != torch.cuda.default_stream()
        assert Workspace().get("delta", (3, 4), torch.float32, pinned=True).is_pinned()
    finally:
        torch.cuda.set_stream(before)
        torch.set_num_threads(threads)


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
