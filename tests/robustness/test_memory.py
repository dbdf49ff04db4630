"""Anonymous memory of merges and extractions of files larger than the budget; cached pages do not count."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from checkpoints import Spec, tiny_lora, tiny_specs, write_safetensors

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc as Linux has it")

TESTS = Path(__file__).resolve().parents[1]
MIB = 1 << 20
RUN = """
import sys
from pathlib import Path
import loralathe.engine.execute, loralathe.engine.row_slice
from loralathe.engine import RunOptions, run_recipe
from robustness.workdir import recipe_in
folder, formula, memory = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
recipe = recipe_in(folder, formula)
print("ready", flush=True)
input()
run_recipe(recipe, RunOptions(threads=2, memory=memory))
"""
MERGE = "A + 0.7*lora + 0.3*(B - A)"
EXTRACT = "extract(B - A, rank=16)"


@dataclass(frozen=True)
class Memory:
    """Bytes of anonymous memory of a run: before it began, and at its peak."""

    start: int
    peak: int

    @property
    def growth(self) -> int:
        return self.peak - self.start

    def told(self, size: int) -> str:
        return (
            f"file {size / 1e6:.0f} MB: {self.start / 1e6:.0f} MB at first, {self.peak / 1e6:.0f} MB at most"
        )


def measure(folder: Path, formula: str, memory: int) -> Memory:
    """Run `out = formula` in a process of its own, looking at it every 10 ms."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", RUN, str(folder), formula, str(memory)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        start = peak = anonymous_memory(process.pid)
        process.stdin.write("\n")
        process.stdin.close()
        while process.poll() is None:
            peak = max(peak, anonymous_memory(process.pid))
            time.sleep(0.01)
    assert process.returncode == 0
    return Memory(start, peak)


def anonymous_memory(pid: int) -> int:
    """RssAnon in bytes; 0 when the process is over."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def write_noise(path: Path, specs: dict[str, Spec], block: torch.Tensor) -> None:
    """A checkpoint in F16 whose data is `block`, a flat fp16 tensor, over and over; nothing large is held."""
    table: dict[str, object] = {}
    at = 0
    for name, spec in sorted(specs.items(), key=lambda item: (item[1].dtype != "I64", item[0])):
        size = {"I64": 8, "F16": 2}[spec.dtype] * torch.Size(spec.shape).numel()
        table[name] = {"dtype": spec.dtype, "shape": spec.shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(table).encode()
    data = block.numpy().tobytes()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while at > 0:
            at -= file.write(data[:at])


def write_models(folder: Path, divisor: int) -> int:
    """A, B = A + noise, and a LoRA, of SD 1.5 at this width; the bytes of A."""
    draw = torch.Generator().manual_seed(7)
    # A length without a common factor with any width: no row repeats within a layer.
    first = 0.03 * torch.randn(5_000_011, generator=draw)
    second = first + 0.003 * torch.randn(5_000_011, generator=draw)
    specs = tiny_specs("sd1", divisor)
    write_noise(folder / "A.safetensors", specs, first.half())
    write_noise(folder / "B.safetensors", specs, second.half())
    lora = tiny_lora("sd1", rank=8, alpha=4.0, seed=3, width_divisor=divisor, std=0.01)
    write_safetensors(folder / "lora.safetensors", lora)
    return (folder / "A.safetensors").stat().st_size


@pytest.fixture(scope="module")
def quarter_width(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    folder = tmp_path_factory.mktemp("quarter")
    yield folder, write_models(folder, 4)
    remove_files(folder)


@pytest.fixture(scope="module")
def half_width(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    folder = tmp_path_factory.mktemp("half")
    yield folder, write_models(folder, 2)
    remove_files(folder)


@pytest.fixture(scope="module")
def full_width(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    folder = tmp_path_factory.mktemp("full")
    yield folder, write_models(folder, 1)
    remove_files(folder)


def remove_files(folder: Path) -> None:
    """Gigabytes need not wait for pytest's own cleaning."""
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.long
def test_a_merge_stays_within_its_budget(quarter_width: tuple[Path, int]) -> None:
    folder, size = quarter_width
    budget = 16 * MIB
    memory = measure(folder, MERGE, budget)
    (folder / "out.safetensors").unlink()
    print(memory.told(size))
    assert size > 2 * (budget + 32 * MIB)
    assert memory.growth < budget + 32 * MIB


@pytest.mark.slow
def test_an_extraction_stays_within_its_budget(half_width: tuple[Path, int]) -> None:
    folder, size = half_width
    budget = 256 * MIB
    memory = measure(folder, EXTRACT, budget)
    (folder / "out.safetensors").unlink()
    print(memory.told(size))
    assert size > budget + 64 * MIB
    assert memory.growth < budget + 64 * MIB


@pytest.mark.slow
@pytest.mark.parametrize(("formula", "bound"), [(MERGE, 1e9), (EXTRACT, 2e9)], ids=["merge", "extract"])
def test_full_size_within_the_promise(full_width: tuple[Path, int], formula: str, bound: float) -> None:
    folder, size = full_width
    memory = measure(folder, formula, 1 << 30)
    (folder / "out.safetensors").unlink()
    print(memory.told(size))
    assert size > bound
    assert memory.peak < bound
