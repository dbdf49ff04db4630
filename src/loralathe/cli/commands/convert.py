"""`lathe convert`: a checkpoint in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loralathe.cli.folders import folder_options
from loralathe.cli.options import (
    FilePath,
    LatheCommand,
    common_options,
    output_option,
    saving_options,
    take_screen,
)

EPILOG = """\b
Examples:
  lathe convert model-fp32.safetensors --dtype fp16
  lathe convert model.ckpt
  lathe convert model.safetensors --bake-vae anime.vae.pt --discard "^model_ema\\."
"""


@click.command(
    "convert",
    cls=LatheCommand,
    section="Checkpoints",
    short_help="Save a checkpoint in another format or dtype, or with another VAE.",
    epilog=EPILOG,
)
@click.argument("a", type=FilePath(), metavar="A")
@saving_options("A")
@output_option
@folder_options()
@common_options(only_sums=True)
def convert_command(a: Path, **options: Any) -> None:
    """Write checkpoint A as safetensors: in another dtype, with another VAE, without some tensors.

    Marks and integers keep their type.
    """
    import loralathe
    from loralathe.cli.report import show_and_run

    screen, dry_run = take_screen(options), options.pop("dry_run")
    prepared = loralathe.convert.prepare(a, progress=screen.progress(), **options)
    show_and_run(prepared, screen, dry_run)
