"""`lathe verify`: is a file what its own record says?"""

from __future__ import annotations

from pathlib import Path

import click

from loralathe.cli.guard import DONE, INPUT
from loralathe.cli.options import FilePath, LatheCommand, Number, Whole, search_option, showing_options
from loralathe.cli.screen import Screen

EPILOG = """\b
Every file that loralathe writes records the recipe that made it, and its inputs' hashes. Sampled
tensors are computed again in float64, from the formulas, and by this version; copied tensors,
names, dtypes, order and metadata must be the same. Inputs are looked for by content, in FILE's
folder and in those of --search.

\b
Exit code 0: all that was checked is as recorded. 2: it is not, or it cannot be checked.

\b
Examples:
  lathe verify hinaB.safetensors
  lathe verify hinaB.safetensors A=bases/a.safetensors --search loras
  lathe verify hinaB.safetensors --all
"""


@click.command("verify", cls=LatheCommand, epilog=EPILOG)
@click.argument("file", type=FilePath(), metavar="FILE")
@click.argument("files", nargs=-1, metavar="[NAME=FILE…]")
@search_option
@click.option("--all", "everything", is_flag=True, help="Every tensor; finds any changed bit.")
@click.option("--share", type=Number(), default=0.02, metavar="X", help="Of each block. Default: 0.02.")
@click.option("--least", type=Whole(min=0), default=2, metavar="N", help="At least. Default: 2.")
@click.option("--seed", type=Whole(min=0), default=0, metavar="N", help="Of the sample. Default: 0.")
@click.option("--exact/--no-exact", default=True, help="The bytes of this version. Default: yes.")
@showing_options
def verify_command(
    file: Path,
    files: tuple[str, ...],
    search: tuple[Path, ...],
    everything: bool,
    share: float,
    least: int,
    seed: int,
    exact: bool,
    as_json: bool,
    quiet: bool,
    threads: int | None,
) -> int:
    """Check FILE against the recipe and the inputs that it records."""
    import loralathe
    from loralathe.cli.names import input_files
    from loralathe.cli.show_verification import show_verification

    screen = Screen(as_json, quiet)
    found = loralathe.verify(
        file,
        input_files(files, "lathe verify out.safetensors A=base.safetensors"),
        search=search,
        everything=everything,
        share=share,
        least=least,
        seed=seed,
        exact=exact,
        threads=threads,
        progress=screen.progress(),
    )
    show_verification(screen, found)
    return DONE if found.ok else INPUT
