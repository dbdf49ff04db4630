"""What the figures were taken on, measured in the same run: versions, disk, memory, matrix products."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch

import loralathe

GB = 1e9
PIECE = 8 << 20


@dataclass(frozen=True)
class Machine:
    """Speeds in bytes and floating-point operations per second.

    write: to disk with fsync;  read: of a cached file;  matmul: fp32 by number of threads.
    """

    versions: str
    processor: str
    cores: int
    memory: int
    write: float
    read: float
    matmul: dict[int, float]

    def lines(self) -> list[str]:
        speeds = ", ".join(f"{speed / GB:.0f} GFLOP/s on {n}" for n, speed in self.matmul.items())
        return [
            f"- {self.versions}",
            f"- {self.processor}, {self.cores} cores, {self.memory / GB:.0f} GB memory",
            f"- disk: {self.write / GB:.2f} GB/s written with fsync; {self.read / GB:.2f} GB/s read, cached",
            f"- fp32 matrix product: {speeds} thread(s)",
        ]


def survey(folder: Path, sample: Path) -> Machine:
    """Measure this machine; `folder` is on the disk that counts, `sample` a file of a gigabyte or more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    names = f"loralathe {loralathe.__version__}, torch {torch.__version__}, numpy {numpy.__version__}"
    return Machine(
        versions=f"Python {platform.python_version()}, {names}, {platform.system()} {platform.release()}",
        processor=_processor(),
        cores=cores,
        memory=_memory(),
        write=best_of(3, lambda: write_speed(folder)),
        read=best_of(3, lambda: read_speed(sample)),
        matmul={n: best_of(5, lambda n=n: matmul_speed(n)) for n in sorted({1, cores})},  # type: ignore[misc]
    )


def best_of(count: int, measure: Callable[[], float]) -> float:
    """A ceiling is the best that was seen."""
    return max(measure() for _ in range(count))


def write_speed(folder: Path, size: int = 1 << 30) -> float:
    """Bytes a second of sequential writing, fsync included, as `dd conv=fsync` would."""
    path = folder / "speed.tmp"
    data = numpy.random.default_rng(0).bytes(PIECE)
    start = time.perf_counter()
    with open(path, "wb", buffering=0) as file:
        for _ in range(size // PIECE):
            file.write(data)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return size / seconds


def read_speed(path: Path) -> float:
    """Bytes a second of reading a file that is in the cache, into one buffer."""
    return path.stat().st_size / read_seconds(path)


def read_seconds(*paths: Path) -> float:
    """Seconds to read whole files one after the other, with one thread and one buffer."""
    buffer = bytearray(PIECE)
    start = time.perf_counter()
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - start


def matmul_speed(threads: int, size: int = 2048) -> float:
    """Operations a second of one fp32 product of square matrices."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        A, B, C = torch.randn(3, size, size)
        start = time.perf_counter()
        torch.mm(A, B, out=C)
        return 2 * size**3 / (time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    flags = named.get("flags", "").split()
    extras = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "sha_ni") if flag in flags]
    return f"{named.get('model name', platform.machine())} ({', '.join(extras)})"


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
