"""`lathe weighted-sum`: a mix of two checkpoints."""

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
Example:
  lathe weighted-sum A.safetensors B.ckpt -m 0.3 --metadata merge
"""


@click.command(
    "weighted-sum",
    cls=LatheCommand,
    section="Checkpoints",
    short_help="Compute (1-M)*A + M*B of two checkpoints.",
    epilog=EPILOG,
)
@click.argument("a", type=FilePath(), metavar="A")
@click.argument("b", type=FilePath(), metavar="B")
@click.option("-m", "--multiplier", type=Number(), required=True, metavar="M", help="Share of B.")
@saving_options("A, B")
@output_option
@folder_options()
@common_options(only_sums=True)
def weighted_sum_command(a: Path, b: Path, multiplier: float, **options: Any) -> None:
    """Compute (1 − M) × A + M × B: 0 gives A, 1 gives B."""
    import loralathe
    from loralathe.cli.report import show_and_run

    screen, dry_run = take_screen(options), options.pop("dry_run")
    prepared = loralathe.weighted_sum.prepare(a, b, multiplier, progress=screen.progress(), **options)
    show_and_run(prepared, screen, dry_run)
