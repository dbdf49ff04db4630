"""`lathe add-difference`: what one checkpoint has over another, added to a third."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loralathe.cli.folders import folder_options
from loralathe.cli.options import (
    FilePath,
    LatheCommand,
    Number,
    common_options,
    output_option,
    saving_options,
    take_screen,
)

EPILOG = """\b
M may be negative: plus moves A away from C, minus towards it.

\b
Examples:
  lathe add-difference A.safetensors tuned.safetensors base.safetensors -m 0.7
  lathe add-difference hinaB.safetensors B.safetensors A.safetensors -m -0.7 -o mix.safetensors
"""


@click.command(
    "add-difference",
    cls=LatheCommand,
    section="Checkpoints",
    short_help="Compute A + M*(B - C) of three checkpoints.",
    epilog=EPILOG,
)
@click.argument("a", type=FilePath(), metavar="A")
@click.argument("b", type=FilePath(), metavar="B")
@click.argument("c", type=FilePath(), metavar="C")
@click.option("-m", "--multiplier", type=Number(), required=True, metavar="M", help="Any number.")
@saving_options("A, B, C")
@output_option
@folder_options()
@common_options(only_sums=True)
def add_difference_command(a: Path, b: Path, c: Path, multiplier: float, **options: Any) -> None:
    """Compute A + M × (B − C): what B has over C, added to A."""
    import loralathe
    from loralathe.cli.report import show_and_run

    screen, dry_run = take_screen(options), options.pop("dry_run")
    prepared = loralathe.add_difference.prepare(a, b, c, multiplier, progress=screen.progress(), **options)
    show_and_run(prepared, screen, dry_run)
