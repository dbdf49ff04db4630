"""What the figures were taken on: versions, processor, device."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate")


def facts(device: torch.device, threads: int) -> list[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    lines = [
        f"- Python {platform.python_version()}, {versions}, {platform.system()} {platform.release()}",
        f"- {processor()}, {cores} cores, {threads} thread(s) of torch{load()}",
    ]
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        lines.append(f"- {found.name}, {found.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}, fp16")
    else:
        lines.append("- no GPU; fp32")
    return lines


def processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return named[0] if named else platform.machine()


def load() -> str:
    """How busy the machine was at the start: above the number of cores, seconds mean little."""
    return f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
