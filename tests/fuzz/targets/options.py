"""Any command with any of its options and values that are beside the point."""

from __future__ import annotations

from pathlib import Path
from random import Random

import click

from fuzz.case import Case
from fuzz.mutate_text import NASTY, mutated
from fuzz.targets.files import SOUND
from loralathe.cli import lathe
from loralathe.cli.app import command_names

START = {
    "inspect": ("lora.safetensors",),
    "merge": ("A.safetensors", "lora.safetensors"),
    "extract": ("B.safetensors", "A.safetensors"),
    "add-difference": ("A.safetensors", "B.safetensors", "A.safetensors"),
    "weighted-sum": ("A.safetensors", "B.safetensors"),
    "convert": ("A.safetensors",),
    "eval": ("A + 0.5*(B - A)", "A=A.safetensors", "B=B.safetensors"),
    "run": ("r.toml",),
    "verify": ("A.safetensors",),
    "compare": ("A.safetensors", "B.safetensors"),
    "render": ("A.safetensors",),
    "grid": ("A.safetensors", "lora.safetensors"),
    "blocks": ("A.safetensors", "lora.safetensors"),
    "tune": ("A.safetensors", "lora.safetensors", "--sweep", "lora = 0..1"),
    "check": ("lora.safetensors", "--in", "comfyui"),
    "transfer": ("lora.safetensors", "--from", "A.safetensors", "--to", "B.safetensors"),
    "identity make": ("x.card", "--model", "A.safetensors"),
    "identity check": ("x.card", "x.png"),
}
RECIPE = b'[inputs]\nA = "A.safetensors"\n[steps]\nB = "fp16(A)"\n[save]\nB = { file = "r.safetensors" }\n'
VALUES = (
    "1",
    "2",
    "0.5",
    "64x64",
    "fp16",
    "cpu",
    "A.safetensors",
    "x.safetensors",
    "a=1",
    "a=b",
    "x = 1",
    "800MB",
    "1,1",
    "Euler",
    "cuda:9",
)
WITHOUT_OWN_WAY = ("device", "output", "out")
"""Options whose values may be drawn only from VALUES: others would leave the folder."""


def arguments(draw: Random, fixtures: Path) -> Case:
    # The demo's work takes minutes, and the workshop waits for a browser.
    name = draw.choice(sorted({*command_names()} - {"demo", "ui"}))
    command = lathe.get_command(click.Context(lathe), name)
    if isinstance(command, click.Group):  # one of its commands
        inner = draw.choice(sorted(command.commands))
        name, command = f"{name} {inner}", command.commands[inner]
    assert command is not None
    words = list(START.get(name, ()))
    settings = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    for option in draw.sample(settings, min(len(settings), draw.choice((0, 1, 2, 3, 5)))):
        words += _given(option, draw)
    if draw.random() < 0.2:
        draw.shuffle(words)
    if words and draw.random() < 0.2:
        at = draw.randrange(len(words))
        words[at] = mutated(words[at], NASTY, draw)
    called = [mutated(name, command_names(), draw)] if draw.random() < 0.1 else name.split()
    # Pictures take too long here: their commands end with a plan.
    pictures = ["--dry-run"] if name in ("render", "grid", "blocks", "tune") else []
    files = SOUND | {"r.toml": RECIPE}
    return Case("arguments", (*called, *words, *pictures), files, may_change=tuple(SOUND))


def _given(option: click.Option, draw: Random) -> list[str]:
    flag = draw.choice([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return [flag]
    value = draw.choice(VALUES)
    if option.name not in WITHOUT_OWN_WAY and draw.random() < 0.6:
        value = mutated(draw.choice((value, *NASTY)), NASTY, draw)
    return [flag, value]
