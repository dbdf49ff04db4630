"""Model files: headers that lie, data that came to harm, and paths that lead to no file."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from fuzz.case import Case, Fixture, Thing
from fuzz.fixtures import ADAPTERS, CHECKPOINTS, read
from fuzz.mutate_bytes import harmed, no_file
from fuzz.mutate_header import joined, split, with_a_lie
from fuzz.targets.commands import ON_A_CHECKPOINT, ON_AN_ADAPTER, about

SOUND: dict[str, Thing] = {name: Fixture(name) for name in (*CHECKPOINTS, *ADAPTERS)}
NAME = "X.safetensors"


def checkpoint_header(draw: Random, fixtures: Path) -> Case:
    data = with_a_lie(read(fixtures, "A.safetensors"), draw)
    return _case("checkpoint headers", data, about(NAME, ON_A_CHECKPOINT, draw))


def checkpoint_bytes(draw: Random, fixtures: Path) -> Case:
    data = read(fixtures, "A.safetensors")
    return _case("checkpoint bytes", harmed(data, draw, _places(data)), about(NAME, ON_A_CHECKPOINT, draw))


def adapter_header(draw: Random, fixtures: Path) -> Case:
    data = read(fixtures, draw.choice(ADAPTERS))
    lies = with_a_lie(_renamed(data, draw) if draw.random() < 0.3 else data, draw)
    return _case("adapter headers", lies, about(NAME, ON_AN_ADAPTER, draw))


def adapter_bytes(draw: Random, fixtures: Path) -> Case:
    data = read(fixtures, draw.choice(ADAPTERS))
    return _case("adapter bytes", harmed(data, draw, _places(data)), about(NAME, ON_AN_ADAPTER, draw))


def no_file_at_all(draw: Random, fixtures: Path) -> Case:
    """A folder, a pipe, a device, a link to itself: as any input, a recipe or a preset file."""
    name = draw.choice((NAME, "X.ckpt", "X.toml", "X.txt", "X"))
    words = draw.choice((
        about(name, ON_A_CHECKPOINT, draw), about(name, ON_AN_ADAPTER, draw), ("run", name),
        ("merge", "A.safetensors", "lora.safetensors", "--presets", name, "--dry-run"),
        ("render", "A.safetensors", "--element-presets", name, "--prompt", "x", "--dry-run"),
        ("grid", "--recipe", name, "--prompt", "x", "--dry-run"),
        ("merge", "A.safetensors", "lora.safetensors", "-o", name, "--force", "--threads", "1"),
        ("render", "A.safetensors", "--lora-dir", name, "--prompt", "<lora:a:1>", "--dry-run"),
        ("grid", "A.safetensors", "--x", "seed = -1, -1", "-o", name, "--dry-run"),
    ))  # fmt: skip
    return Case("no files", words, SOUND | {name: no_file(name, draw)}, may_change=(name,))


def _case(target: str, data: bytes, words: tuple[str, ...]) -> Case:
    return Case(target, words, SOUND | {NAME: data})


def _places(data: bytes) -> tuple[int, ...]:
    """Where the header ends and some tensors begin."""
    table, body = split(data)
    start = len(data) - len(body)
    begins = [entry["data_offsets"][0] for name, entry in table.items() if name != "__metadata__"]
    return (start, *(start + at for at in begins[:: max(1, len(begins) // 8)]))


_OTHER_PARTS = {
    "lora_up.weight": ("lora_B.weight", "hada_w1_a", "lokr_w1", "oft_diag", "diff", "dora_scale",
    "a1.weight", "on_input"),
    "lora_down.weight": ("lora_A.weight", "hada_w1_b", "lokr_w2", "oft_blocks", "diff_b",
    "lora_mid.weight", "b2.weight", "weight"),
    "alpha": ("alpha", "rank", "dora_scale", "alpha.weight", "rescale", "on_input"),
}  # fmt: skip


def _renamed(data: bytes, draw: Random) -> bytes:
    """The tensors under names of other kinds of adapter: shapes that fit none of them."""
    table, body = split(data)
    part = draw.choice(sorted(_OTHER_PARTS))
    other = draw.choice(_OTHER_PARTS[part])
    share = draw.choice((0.01, 0.5, 1.0))
    named = {(k.replace(part, other) if draw.random() < share else k): v for k, v in table.items()}
    return joined(json.dumps(named).encode(), body)
