"""`lathe compare`: what differs between two files, where, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe import as_flag, counted, few
from loralathe.cli.folders import folder_options
from loralathe.cli.options import FilePath, LatheCommand, Whole, showing_options
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Columns, Facts, counts, laid_out, legend

if TYPE_CHECKING:
    from loralathe import BlockComparison, Comparison

MEANINGS = {
    "cosine": "1 for the same direction, 0 for nothing in common, of all numbers together",
    "‖Y‖/‖X‖": "how large Y is, relative to X",
    "‖X−Y‖/‖X‖": "how large the difference is, relative to X",
}
OF_DIRECTIONS = {
    "up, down": "share of a layer's main directions, of outputs and of inputs, that both have",
}
OF_DISTANCE = {
    "they differ by": "‖X−Y‖ relative to the larger, over differing layers that a LoRA could change",
}
"""What the verdict on two models says, and the advice of other commands."""
EPILOG = f"""\b
The verdict says in a sentence what the numbers mean: the same file, the same up to rounding, a
LoRA merged in, a fine-tune, models that share little. Its words, and the columns of the table:

\b
{laid_out(OF_DISTANCE | MEANINGS | OF_DIRECTIONS)}

\b
Examples:
  lathe compare hina.safetensors hina_special.safetensors
  lathe compare baseA.safetensors tuned.safetensors
  lathe compare hinaB.safetensors hinaB-minus-A.safetensors --base B.safetensors
"""


@click.command(
    "compare",
    cls=LatheCommand,
    section="Look at files",
    short_help="Show what differs between two files, where, and how much.",
    epilog=EPILOG,
)
@click.argument("x", type=FilePath(), metavar="X")
@click.argument("y", type=FilePath(), metavar="Y")
@click.option(
    "--base",
    type=FilePath(),
    metavar="B",
    help="Compare what X and Y changed in the checkpoint B: X−B with Y−B.",
)
@click.option(
    "--rank",
    type=Whole(min=1),
    metavar="K",
    help="For up and down: how many main directions to compare. Default: all of a LoRA, 16 with --base.",
)
@folder_options()
@showing_options
def compare_command(
    x: Path,
    y: Path,
    base: Path | None,
    rank: int | None,
    as_json: bool,
    quiet: bool,
    threads: int | None,
    **folders: Any,
) -> None:
    """Compare two checkpoints weight by weight, or two LoRAs by what they add to a model."""
    import loralathe

    screen = Screen(as_json, quiet)
    found = loralathe.compare(x, y, base, rank=rank, threads=threads, progress=screen.progress(), **folders)
    show_comparison(screen, found)


def show_comparison(screen: Screen, found: Comparison) -> None:
    """What differs, where, how much."""
    screen.event("comparison", identical=found.identical, comparison=found)
    items = "modules" if found.of == "deltas" else "tensors"
    screen.result(heading(_title(found)), Facts(_facts(found, items)))
    if not found.identical and found.blocks:
        overlap = found.total.up is not None
        columns = ["block", items, "equal", "cosine", "‖Y‖/‖X‖", "‖X−Y‖/‖X‖"]
        columns += [f"up{_k(found)}", f"down{_k(found)}"] if overlap else []
        rows = [_row(block, overlap) for block in found.blocks]
        screen.result("", Columns(columns, rows, _row(found.total, overlap)))
        distance = OF_DISTANCE if found.of == "weights" and "distance" in found.verdict.numbers else {}
        screen.result(legend(MEANINGS | (OF_DIRECTIONS if overlap else {}) | distance))


def _title(found: Comparison) -> str:
    if found.identical:
        return "no difference" + (f" but in {found.recast} dtypes" if found.recast else "")
    what = {
        "weights": "weights of X and Y",
        "deltas": "deltas of the adapters X and Y",
        "differences": "what X and Y changed in B",
    }
    return what[found.of]


def _facts(found: Comparison, items: str) -> list[tuple[str, str]]:
    rows = [("X", str(found.x)), ("Y", str(found.y))]
    rows += [("B", str(found.base))] if found.base else []
    rows.append(("verdict", found.verdict.text.spelled(as_flag)))
    differing = found.total.items - found.total.equal
    rows.append((items, counts([(differing, "differ"), (found.total.equal, "equal")])))
    named: Sequence[tuple[str, Sequence[str]]] = (
        ("only in X", found.only_x),
        ("only in Y", found.only_y),
        ("other shape", found.reshaped),
        ("integers", found.unequal_integers),
    )
    noun = items.removesuffix("s")
    rows += [(label, f"{counted(len(names), noun)}: {few(names)}") for label, names in named if names]
    if found.recast:
        rows.append(("other dtype", f"{found.recast} {items}"))
    return rows


def _k(found: Comparison) -> str:
    return f" ({found.rank})" if found.rank else ""


def _row(block: BlockComparison, overlap: bool) -> list[str]:
    row = [
        block.block,
        str(block.items),
        str(block.equal or "–"),
        _number(block.cosine, ".4f"),
        _number(block.ratio, ".4f"),
        _number(block.difference, "#.3g"),
    ]
    return row + ([_number(block.up, ".3f"), _number(block.down, ".3f")] if overlap else [])


def _number(value: float | None, spec: str) -> str:
    return "–" if value is None else format(value, spec)
