"""`lathe install`: our nodes in ComfyUI, our extension in A1111 and Forge."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import click

from loralathe import few, quoted
from loralathe.cli.language import Data
from loralathe.cli.options import FilePath, LatheCommand
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Facts

PROGRAMS = {"comfyui": "ComfyUI", "webui": "A1111 or Forge"}
PLACES = {"comfyui": "the nodes are under loralathe", "webui": "the tab is called loralathe"}
NEEDED = ("starlette", "uvicorn", "jinja2", "diffusers", "transformers")
"""What the workshop asks of loralathe's own Python."""
EPILOG = """\b
DIR is the folder of the program: the one with custom_nodes (ComfyUI) or extensions (A1111,
Forge, Forge Neo) in it. The nodes need loralathe in ComfyUI's own Python, too; the command says
how. The tab starts the loralathe that put it there, and needs nothing in that program's Python.
docs/comfyui.md and docs/webui.md say what to click then.

\b
Examples:
  lathe install comfyui ../ComfyUI
  lathe install comfyui D:\\ComfyUI_windows_portable --force
  lathe install webui ../stable-diffusion-webui-forge
"""


@click.command(
    "install",
    cls=LatheCommand,
    section="Settings",
    short_help="Put lathe into ComfyUI (nodes) or into A1111 and Forge (a tab).",
    epilog=EPILOG,
)
@click.argument("program", type=click.Choice(list(PROGRAMS)), metavar="comfyui|webui")
@click.argument("folder", type=FilePath(), metavar="DIR")
@click.option("--force", is_flag=True, help="Replace an older pack of ours.")
@click.option("--link", is_flag=True, help="Make a link instead of a copy: it changes with loralathe.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout, text on stderr.")
def install_command(
    program: str, folder: Path, force: bool, link: bool, dry_run: bool, as_json: bool
) -> None:
    """Put nodes into ComfyUI, or a tab with the workshop into A1111, Forge and Forge Neo."""
    from loralathe.integrations import install

    made = install(program, folder, force=force, link=link, dry_run=dry_run)
    screen = Screen(as_json)
    screen.event("installed", **made.__dict__, dry_run=dry_run)
    label = PROGRAMS[program]
    done = f"loralathe would be put into {label}" if dry_run else f"loralathe is in {label}"
    screen.show(heading(done), Facts([("folder", Data(made.folder))]))
    if made.apart:
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            screen.show("", f"the tab needs {few(missing)} here:")
            screen.verbatim(f'  {quoted(sys.executable)} -m pip install "loralathe[ui,render]"')
    else:
        screen.show("", "loralathe must stand in that program's own Python, too:")
        python = quoted(str(made.python or "python"))
        screen.verbatim(f"  {python} -m pip install {quoted(made.source)}")
    screen.show(f"Then start the program anew: {PLACES[program]}.")
    if made.python is None and not made.apart:
        screen.note("its own Python was not found: use the one that starts it")
