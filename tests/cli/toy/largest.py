"""`lathe largest`: the largest tensor of a file; its function is in `look.py` beside it."""

from __future__ import annotations

from pathlib import Path

import click

from loralathe.cli.options import FilePath, LatheCommand, showing_options
from loralathe.cli.screen import Screen

EPILOG = """\b
Example:
  lathe largest baseA.safetensors
"""


@click.command(
    "largest",
    cls=LatheCommand,
    section="Look at files",
    short_help="Show the largest tensor of a file.",
    epilog=EPILOG,
)
@click.argument("file", type=FilePath(), metavar="FILE")
@showing_options
def largest_command(file: Path, as_json: bool, quiet: bool, threads: int | None) -> None:
    """Show the name of the largest tensor in FILE."""
    import loralathe

    screen = Screen(as_json, quiet)
    name = loralathe.largest(file)
    screen.event("largest", name=name)
    screen.result(name)
