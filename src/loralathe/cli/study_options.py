"""Where a study lies, and its page: grids, block studies and searches take these options."""

from __future__ import annotations

from typing import Any

import click

from loralathe.cli.options import FilePath, Option, stack


def study_options(page: str, folder: str, other: str = "axes, files or prompt") -> Option[Any]:
    """--out, --force, --title, --embed.

    page: its file;  folder: the help of --out;  other: what makes it another study.
    """
    return stack([
        click.option("-o", "--out", "output", type=FilePath(), metavar="FOLDER", help=folder),
        click.option("--force", is_flag=True, help=f"Replace a study in the folder that has other {other}."),
        click.option("--title", default="", metavar="TEXT", help="Title of the page."),
        click.option("--embed", is_flag=True, help=f"Put the pictures into {page}, to send it around."),
    ])  # fmt: skip
