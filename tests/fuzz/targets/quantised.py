"""Quantised checkpoints, scaled fp8 with scales that lie and GGUF files that were damaged."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load, save

from fuzz.case import Case
from fuzz.fixtures import read
from fuzz.mutate_bytes import harmed
from fuzz.mutate_header import with_a_lie
from fuzz.targets.commands import ON_A_CHECKPOINT, about
from fuzz.targets.files import SOUND
from quantised import SAFETENSORS
from tensorfiles.gguf_files import write_gguf

STRUCTURE = 60_000
"""Bytes of the GGUF file that hold its structure, about."""


def quantised_case(draw: Random, fixtures: Path) -> Case:
    if draw.random() < 0.4:
        name, data = "X.gguf", _damaged(_gguf(fixtures), draw)
    else:
        whole = _scaled(fixtures, draw.choice(sorted(SAFETENSORS)))
        name = "X.safetensors"
        data = with_a_lie(whole, draw) if draw.random() < 0.7 else harmed(whole, draw)
    return Case("quantised files", about(name, ON_A_CHECKPOINT, draw), SOUND | {name: data})


def _damaged(data: bytes, draw: Random) -> bytes:
    """Numbers that are out of all proportion in the structure, or any accident."""
    if draw.random() < 0.4:
        return harmed(data, draw)
    at, size = draw.randrange(4, STRUCTURE), draw.choice((1, 4, 8))
    huge = draw.choice(
        (b"\xff" * size, b"\0" * size, b"\1" + b"\0" * (size - 1), b"\0" * (size - 1) + b"\x40")
    )
    return data[:at] + huge + data[at + size :]


@cache
def _scaled(fixtures: Path, kind: str) -> bytes:
    tensors: dict[str, torch.Tensor] = {}
    for key, tensor in load(read(fixtures, "A.safetensors")).items():
        layer, _, word = key.rpartition(".")
        weight = word == "weight" and tensor.ndim == 2
        tensors |= SAFETENSORS[kind](layer, tensor.float())[0] if weight else {key: tensor}
    return save(tensors)


@cache
def _gguf(fixtures: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        tensors = load(read(fixtures, "A.safetensors"))
        return write_gguf(Path(folder) / "A.gguf", tensors, default="Q8_0").read_bytes()
