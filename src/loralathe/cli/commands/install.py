"""`lathe install`: our nodes in ComfyUI."""

from __future__ import annotations

from pathlib import Path

import click

from loralathe import quoted
from loralathe.cli.language import Data
from loralathe.cli.options import FilePath, LatheCommand
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Facts

PROGRAMS = ("comfyui",)
EPILOG = """\b
DIR is the folder of the program: the one with custom_nodes in it. The nodes call loralathe,
which must stand in the program's own Python, too; the command says how to put it there.
docs/comfyui.md says what to click then.

\b
Examples:
  lathe install comfyui ../ComfyUI
  lathe install comfyui D:\\ComfyUI_windows_portable --force
"""


@click.command(
    "install",
    cls=LatheCommand,
    section="Settings",
    short_help="Put nodes into ComfyUI that do what lathe does.",
    epilog=EPILOG,
)
@click.argument("program", type=click.Choice(PROGRAMS), metavar="comfyui")
@click.argument("folder", type=FilePath(), metavar="DIR")
@click.option("--force", is_flag=True, help="Replace an older pack of ours.")
@click.option("--link", is_flag=True, help="Make a link instead of a copy: it changes with loralathe.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout, text on stderr.")
def install_command(
    program: str, folder: Path, force: bool, link: bool, dry_run: bool, as_json: bool
) -> None:
    """Put our nodes into DIR: block weights, the block analyzer, grids, merges and more."""
    from loralathe.integrations import install

    made = install(program, folder, force=force, link=link, dry_run=dry_run)
    screen = Screen(as_json)
    screen.event("installed", **made.__dict__, dry_run=dry_run)
    done = "would put the nodes into ComfyUI" if dry_run else "the nodes are in ComfyUI"
    screen.show(heading(done), Facts([("folder", Data(made.folder))]))
    screen.show("", "loralathe must stand in ComfyUI's own Python, too:")
    python = quoted(str(made.python or "python"))
    screen.verbatim(f"  {python} -m pip install {quoted(made.source)}")
    screen.show("Then start ComfyUI anew: the nodes are under loralathe.")
    if made.python is None:
        screen.note("ComfyUI's own Python was not found: use the one that starts it")
