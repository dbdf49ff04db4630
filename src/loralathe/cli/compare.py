"""`lathe compare`: what differs between two files, where, and how much."""

from __future__ import annotations

from pathlib import Path

import click

from loralathe.cli.options import FilePath, LatheCommand, Whole, showing_options
from loralathe.cli.screen import Screen

EPILOG = """\b
cosine      angle between all numbers of X and of Y: 1 the same direction, 0 nothing in common
‖Y‖/‖X‖     how much larger Y is
‖X−Y‖/‖X‖   the difference, relative to X
up, down    shared part of the leading output and input directions of the layers, 0 to 1

\b
Examples:
  lathe compare hina.safetensors hina_special.safetensors
  lathe compare baseA.safetensors tuned.safetensors
  lathe compare hinaB.safetensors hinaB-minus-A.safetensors --base B.safetensors
"""


@click.command("compare", cls=LatheCommand, epilog=EPILOG)
@click.argument("x", type=FilePath(), metavar="X")
@click.argument("y", type=FilePath(), metavar="Y")
@click.option("--base", type=FilePath(), metavar="B", help="Compare what X and Y changed in B: X−B with Y−B.")
@click.option(
    "--rank",
    type=Whole(min=1),
    metavar="K",
    help="Leading directions to compare. Default: all of an adapter, 16 with --base.",
)
@showing_options
def compare_command(
    x: Path,
    y: Path,
    base: Path | None,
    rank: int | None,
    as_json: bool,
    quiet: bool,
    threads: int | None,
) -> None:
    """Compare two checkpoints weight by weight, or two adapters by the deltas that they make."""
    import loralathe
    from loralathe.cli.show_comparison import show_comparison

    screen = Screen(as_json, quiet)
    show_comparison(
        screen, loralathe.compare(x, y, base, rank=rank, threads=threads, progress=screen.progress())
    )
