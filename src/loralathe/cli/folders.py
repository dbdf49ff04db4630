"""Where files are found by name: --lora-dir and --checkpoint-dir, or else what `lathe config` remembers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from loralathe.cli.options import FilePath, stack

F = TypeVar("F", bound=Callable[..., object])
FILES = {"lora_dir": "LoRAs", "checkpoint_dir": "checkpoints", "vae_dir": "VAEs", "embeddings": "embeddings"}
FOLDERS = ("lora_dir", "checkpoint_dir")


def folder_options(*names: str) -> Callable[[F], F]:
    """An option for every name: those of LoRAs and checkpoints, where none is given."""
    return stack([_option(name) for name in names or FOLDERS])


def take_folders(options: dict[str, Any]) -> dict[str, Any]:
    """--lora-dir and --checkpoint-dir, taken out of a command's options."""
    return {name: options.pop(name) for name in FOLDERS}


def _option(name: str) -> Callable[[F], F]:
    return click.option(
        f"--{name.replace('_', '-')}",
        multiple=True,
        type=FilePath(),
        metavar="DIR",
        default=partial(_remembered, name),
        help=f"Find {FILES[name]} by name in this folder, too; repeatable. Default: see lathe config.",
    )


def _remembered(name: str) -> tuple[Path, ...]:
    """The folders of the config that are there: a disk may be unplugged."""
    from loralathe import read_config

    return tuple(folder for folder in read_config().get(name, ()) if folder.is_dir())
