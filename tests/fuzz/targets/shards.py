"""Shards and their index: a folder from a stranger names its own files, and may say anything of them."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from fuzz.case import Case, Folder, Link, Thing
from fuzz.mutate_bytes import harmed
from fuzz.mutate_header import joined, split, with_a_lie
from fuzz.mutate_text import mutated

STEM, FOLDER = "diffusion_pytorch_model", "pipe/unet"
WORDS = (
    "null", "[]", "{}", '""', "1e999", '"/etc/passwd"', '"../A.safetensors"', '"."', '".."', '"\\u0000"',
    "\\ud800", '"weight_map"', f'"{STEM}-00001-of-00002.safetensors"', "00003-of-99999", ",", ":", "[" * 2000,
)  # fmt: skip
COMMANDS = (
    ("inspect", "pipe"),
    ("inspect", FOLDER, "--norms", "--hash"),
    ("inspect", f"{FOLDER}/{STEM}.safetensors.index.json"),
    ("compare", "pipe", "A.safetensors"),
    ("convert", "pipe", "-o", "made.safetensors"),
    ("convert", "pipe", "--layout", "diffusers", "--shard-size", "1MB", "-o", "made"),
    ("convert", "A.safetensors", "--layout", "diffusers", "--like", "pipe", "-o", "made"),
    ("verify", "pipe"),
)


def shards(draw: Random, fixtures: Path) -> Case:
    """A checkpoint of the fixtures in two shards under its own names, its index beside them."""
    table, body = split((fixtures / "A.safetensors").read_bytes())
    table.pop("__metadata__", None)
    names = [f"{STEM}-{number:05d}-of-00002.safetensors" for number in (1, 2)]
    places = {key: names[number % 2] for number, key in enumerate(table)}
    files: dict[str, Thing] = {"pipe/model_index.json": b"{}", "A.safetensors": joined(_text(table), body)}
    for name in names:
        own = {key: dict(entry) for key, entry in table.items() if places[key] == name}
        parts, end = [], 0
        for entry in own.values():
            begin, stop = entry["data_offsets"]
            parts.append(body[begin:stop])
            entry["data_offsets"] = [end, end + stop - begin]
            end += stop - begin
        data = joined(_text(own), b"".join(parts))
        if draw.random() < 0.2:
            data = draw.choice((harmed, with_a_lie))(data, draw)
        files[f"{FOLDER}/{name}"] = data
    index = json.dumps({"metadata": {"total_size": len(body)}, "weight_map": places})
    if draw.random() < 0.7:
        index = mutated(index, WORDS, draw)
    files[f"{FOLDER}/{STEM}.safetensors.index.json"] = index.encode("utf-8", "surrogatepass")
    if draw.random() < 0.3:
        others: tuple[Thing, ...] = (Folder(), Link("../../A.safetensors"), Link("x"))
        files[f"{FOLDER}/{draw.choice(names)}"] = draw.choice(others)
    if draw.random() < 0.3:
        files[f"{FOLDER}/config.json"] = mutated("{}", WORDS, draw).encode("utf-8", "surrogatepass")
    return Case("shards", draw.choice(COMMANDS), files)


def _text(table: object) -> bytes:
    return json.dumps(table).encode()
