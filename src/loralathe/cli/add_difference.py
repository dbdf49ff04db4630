"""`lathe add-difference`, `lathe weighted-sum` and `lathe convert`: checkpoints from checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loralathe.cli.options import (
    FilePath,
    LatheCommand,
    Number,
    common_options,
    output_option,
    saving_options,
    take_screen,
)

ADD_EPILOG = """\b
M may be negative: plus moves A away from C, minus towards it.

\b
Examples:
  lathe add-difference A.safetensors tuned.safetensors base.safetensors -m 0.7
  lathe add-difference hinaB.safetensors B.safetensors A.safetensors -m -0.7 -o mix.safetensors
"""
SUM_EPILOG = """\b
Example:
  lathe weighted-sum A.safetensors B.ckpt -m 0.3 --metadata merge
"""
CONVERT_EPILOG = """\b
Examples:
  lathe convert model-fp32.safetensors --dtype fp16
  lathe convert model.ckpt
  lathe convert model.safetensors --bake-vae anime.vae.pt --discard "^model_ema\\."
"""


@click.command("add-difference", cls=LatheCommand, epilog=ADD_EPILOG)
@click.argument("a", type=FilePath(), metavar="A")
@click.argument("b", type=FilePath(), metavar="B")
@click.argument("c", type=FilePath(), metavar="C")
@click.option("-m", "--multiplier", type=Number(), required=True, metavar="M", help="Any number.")
@saving_options("A, B, C")
@output_option
@common_options()
def add_difference_command(a: Path, b: Path, c: Path, multiplier: float, **options: Any) -> None:
    """Compute A + M × (B − C): what B has over C, added to A."""
    import loralathe
    from loralathe.cli.report import show_and_run

    screen, dry_run = take_screen(options), options.pop("dry_run")
    prepared = loralathe.add_difference.prepare(a, b, c, multiplier, progress=screen.progress(), **options)
    show_and_run(prepared, screen, dry_run)


@click.command("weighted-sum", cls=LatheCommand, epilog=SUM_EPILOG)
@click.argument("a", type=FilePath(), metavar="A")
@click.argument("b", type=FilePath(), metavar="B")
@click.option("-m", "--multiplier", type=Number(), required=True, metavar="M", help="Share of B.")
@saving_options("A, B")
@output_option
@common_options()
def weighted_sum_command(a: Path, b: Path, multiplier: float, **options: Any) -> None:
    """Compute (1 − M) × A + M × B: 0 gives A, 1 gives B."""
    import loralathe
    from loralathe.cli.report import show_and_run

    screen, dry_run = take_screen(options), options.pop("dry_run")
    prepared = loralathe.weighted_sum.prepare(a, b, multiplier, progress=screen.progress(), **options)
    show_and_run(prepared, screen, dry_run)


@click.command("convert", cls=LatheCommand, epilog=CONVERT_EPILOG)
@click.argument("a", type=FilePath(), metavar="A")
@saving_options("A")
@output_option
@common_options()
def convert_command(a: Path, **options: Any) -> None:
    """Write checkpoint A as safetensors: in another dtype, with another VAE, without some tensors.

    Marks and integers keep their type.
    """
    import loralathe
    from loralathe.cli.report import show_and_run

    screen, dry_run = take_screen(options), options.pop("dry_run")
    prepared = loralathe.convert.prepare(a, progress=screen.progress(), **options)
    show_and_run(prepared, screen, dry_run)
