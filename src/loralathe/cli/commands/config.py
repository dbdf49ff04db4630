"""`lathe config`: the folders that all commands search."""

from __future__ import annotations

from pathlib import Path

import click

from loralathe import InputError
from loralathe.cli.language import Data
from loralathe.cli.options import LatheCommand
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Facts

EPILOG = """\b
NAME is lora-dir, checkpoint-dir, vae-dir or embeddings. All commands then find files in
these folders and below by their names alone: lathe merge baseA hina:0.7. --lora-dir DIR on
the command line replaces the remembered ones. The current folder is always searched, too.
Several files of one name are an error, which lists them. The variable LORALATHE_CONFIG
names another file to keep this in.

\b
Examples:
  lathe config
  lathe config set lora-dir loras "D:/more loras"
  lathe config set checkpoint-dir models
  lathe config unset lora-dir
"""
ACTIONS = ("show", "set", "unset")


@click.command(
    "config",
    cls=LatheCommand,
    section="Settings",
    short_help="Remember the folders of LoRAs, checkpoints and VAEs.",
    epilog=EPILOG,
)
@click.argument("action", type=click.Choice(ACTIONS), default="show", metavar="[show|set|unset]")
@click.argument("name", default="", metavar="[NAME]")
@click.argument("folders", nargs=-1, metavar="[DIR…]")
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout, text on stderr.")
def config_command(action: str, name: str, folders: tuple[str, ...], as_json: bool) -> None:
    """Show, set or unset the folders in which all commands find files by name."""
    from loralathe import config_file, forget, read_config, remember

    if bool(name) != (action != "show") or bool(folders) != (action == "set"):
        raise InputError(
            f"lathe config {action} is written otherwise",
            fix="lathe config, lathe config set lora-dir DIR, or lathe config unset lora-dir",
        )
    field = name.replace("-", "_")
    if action == "set":
        remember(field, folders)
    elif action == "unset":
        forget(field)
    _show(Screen(as_json), config_file(), read_config())


def _show(screen: Screen, file: Path | None, config: dict[str, tuple[Path, ...]]) -> None:
    from loralathe import REMEMBERED

    screen.event("config", file=file, **config)
    rows: list[tuple[str, str]] = []
    for name in REMEMBERED:
        label = name.replace("_", "-")
        for folder in config.get(name, ()):
            rows.append((label, Data(folder) if folder.is_dir() else f"{folder} (not there now)"))
            label = ""
        rows += [] if name in config else [(label, "none")]
    rows.append(("file", Data(file) if file else "none"))
    screen.show(heading("folders in which files are found by name"), Facts(rows))
