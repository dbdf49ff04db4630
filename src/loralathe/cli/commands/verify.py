"""`lathe verify`: check a file against the recipe recorded in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe import counted
from loralathe.cli.folders import folder_options
from loralathe.cli.guard import DONE, INPUT
from loralathe.cli.language import Data
from loralathe.cli.options import (
    FilePath,
    LatheCommand,
    Share,
    Whole,
    input_files,
    search_option,
    showing_options,
)
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Columns, Facts, figures, signed_percent

if TYPE_CHECKING:
    from loralathe import BlockCheck, Verification

EPILOG = """\b
Every file that loralathe writes records the recipe that made it, and the hashes of its inputs.
verify makes a sample of its tensors again, twice: from the formulas in float64, and by this
version. It also compares what is only copied, and all names, types and metadata. Inputs are found
by their content, in FILE's folder and in those of --search.

\b
Exit code 0: all that was checked is as recorded. 2: it is not, or it cannot be checked.

\b
Examples:
  lathe verify hinaB.safetensors
  lathe verify hinaB.safetensors A=bases/a.safetensors --search loras
  lathe verify hinaB.safetensors --all
"""


@click.command(
    "verify",
    cls=LatheCommand,
    section="Look at files",
    short_help="Check a file against the recipe recorded in it.",
    epilog=EPILOG,
)
@click.argument("file", type=FilePath(), metavar="FILE")
@click.argument("files", nargs=-1, metavar="[NAME=FILE…]")
@search_option
@click.option("--all", "everything", is_flag=True, help="Check every tensor. This finds any changed bit.")
@click.option(
    "--share",
    type=Share(),
    default=0.02,
    metavar="X",
    help="How much of each block to check, from 0 to 1. Default: 0.02.",
)
@click.option(
    "--least",
    type=Whole(min=0),
    default=2,
    metavar="N",
    help="Check at least N tensors of each block. Default: 2.",
)
@click.option(
    "--seed",
    type=Whole(min=0),
    default=0,
    metavar="N",
    help="Another number chooses other tensors. Default: 0.",
)
@click.option(
    "--exact/--no-exact", default=True, help="Also compare bytes with what this version writes. Default: yes."
)
@folder_options()
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
    **folders: Any,
) -> int:
    """Check FILE against the recipe and the inputs that it records."""
    import loralathe

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
        **folders,
    )
    show_verification(screen, found)
    return DONE if found.ok else INPUT


COLUMNS = {
    True: "over the best: how much larger the error is than that of the best LoRA of this rank",
    False: "error: the largest, in steps of the last digit; rounding alone makes 0.5",
}
"""What the columns of a LoRA and of a checkpoint mean; those of both follow."""
BOTH = "other bits: not the bytes that this version writes · wrong: not what the recipe gives"
SHOWN = 12
"""Findings that are shown; --json has them all."""


def show_verification(screen: Screen, found: Verification) -> None:
    """What was checked, block by block, and what was found."""
    screen.event("verification", ok=found.ok, verification=found)
    screen.result(heading(_title(found)), Facts(_facts(found)))
    adapter = found.kind == "adapter"
    columns = ["block", "modules" if adapter else "tensors", "checked"]
    columns += ["over the best %"] if adapter else ["copied", "error"]
    columns += ["other bits", "wrong"]
    rows = [_row(block, adapter) for block in found.blocks if block.tensors or block.checked]
    screen.result("", Columns(columns, rows, _row(found.total, adapter)))
    if found.findings:
        screen.result("", heading(counted(len(found.findings), "finding")))
        shown = [(finding.place, finding.what) for finding in found.findings[:SHOWN]]
        for place, what in shown:
            screen.result(Facts([("", f"{place}: {what}")]))
        rest = len(found.findings) - SHOWN
        if rest > 0:
            screen.result(Facts([("", f"and {rest} more (--json shows all)")]))


def _title(found: Verification) -> str:
    if found.ok:
        return f"{found.path.name} is what its record says"
    return f"{found.path.name} is NOT what its record says"


def _facts(found: Verification) -> list[tuple[str, str]]:
    rows = [("recipe", f"{found.save} = {found.formula}")]
    for name, path in found.inputs.items():
        unsure = "  (by its name: no hash was recorded)" if name in found.by_name else ""
        rows.append((Data(name), f"{path}{unsure}"))
    rows.append(("made by", f"loralathe {found.version}"))
    held, error = found.total.held, found.total.error
    if held is not None and error is not None:
        text = (
            f"{signed_percent(held)} of what is added, error {signed_percent(error)}, of the tensors checked"
        )
        rows.append(("held", text))
    checked, whole = found.total.checked, counted(found.total.tensors, "tensor")
    is_sample = checked < found.total.tensors
    rows.append(("checked", f"a sample of {checked} out of {whole}" if is_sample else whole))
    rows.append(("columns", f"{COLUMNS[found.kind == 'adapter']} · {BOTH}"))
    return rows + [("note", note) for note in found.notes]


def _row(block: BlockCheck, adapter: bool) -> list[str]:
    row = [block.block, str(block.tensors), str(block.checked)]
    if adapter:
        row.append("–" if block.excess is None else figures(100 * block.excess, 2))
    else:
        row += [str(block.copied or "–"), "–" if block.ulps is None else figures(block.ulps)]
    return [*row, str(block.differing or "–"), str(block.failed or "–")]
