"""`lathe transfer`: a LoRA for another base, whose blocks may be more or others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe import fixed
from loralathe.cli.folders import folder_options
from loralathe.cli.options import FilePath, LatheCommand, output_option, showing_options
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Columns, Facts, counts, laid_out, legend

if TYPE_CHECKING:
    from loralathe import Fitting, Stack

MAP = {
    "cosine": "how alike the weights of a block and of its origin are: 1 the same, 0 unrelated",
    "next best": "the same for the second best origin: if it is far lower, the map is certain",
}
SHARED = {
    "shared": "how alike both bases treat what the LoRA reads and writes: 1 as on its own base",
}
EPILOG = f"""\b
Bases that were made deeper repeat blocks of an older one and train on. The map says which block
came from which; it is found in the weights. What the tables say:

\b
{laid_out(MAP | SHARED)}

\b
Examples:
  lathe transfer hina.safetensors --from base28.safetensors --to base40.safetensors
  lathe transfer hina.safetensors --from baseA.safetensors --to baseB.safetensors --dry-run
"""


@click.command(
    "transfer",
    cls=LatheCommand,
    section="LoRAs",
    short_help="Carry a LoRA to a base that has more blocks, or see how well it fits one.",
    epilog=EPILOG,
)
@click.argument("lora", type=FilePath(), metavar="LORA")
@click.option(
    "--from",
    "source",
    type=FilePath(),
    required=True,
    metavar="A",
    help="The base that the LoRA was made for.",
)
@click.option(
    "--to",
    "target",
    type=FilePath(),
    required=True,
    metavar="B",
    help="The base that the LoRA is written for.",
)
@output_option
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and write nothing.")
@folder_options()
@showing_options
def transfer_command(
    lora: Path,
    source: Path,
    target: Path,
    output: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    threads: int | None,
    **folders: Any,
) -> None:
    """Write LORA, made for base A, for base B: its layers get the names of the blocks that came from theirs.

    B is A with more, fewer or other blocks. Where no block moves, nothing is written: the LoRA is used as
    it is, and the score says how well it fits.
    """
    import loralathe

    screen = Screen(as_json, quiet)
    options: dict[str, Any] = {"threads": threads, "progress": screen.progress(), **folders}
    if dry_run:
        show_fitting(screen, loralathe.fitting(lora, source, target, **options))
        return
    made = loralathe.transfer(lora, source, target, output=output, force=force, **options)
    show_fitting(screen, made.fitting)
    screen.event("transferred", file=made.file)
    screen.result("", f"wrote {made.file}" if made.file else "nothing moves: use the LoRA as it is")


def show_fitting(screen: Screen, found: Fitting) -> None:
    """The map of blocks where it is not one to one, and the score."""
    screen.event("fitting", changes=found.changes, fitting=found)
    if screen.quiet:
        return
    placed = sum(map(len, found.moved.values()))
    facts = [("LoRA", str(found.adapter)), ("from", str(found.source)), ("to", str(found.target))]
    facts.append(("layers", counts([(placed, "placed"), (len(found.left_out), "left out")])))
    screen.result(heading("LoRA for another base"), Facts(facts))
    moving = [stack for stack in found.stacks if stack.moves]
    for stack in moving:
        title = f"{stack.path}: {stack.depths[0]} blocks of A, {stack.depths[1]} of B"
        screen.result(
            "", heading(title), Columns(["block of B", "from A", "cosine", "next best"], _map(stack))
        )
    rows = [[one.block, str(one.layers), _number(one.shared)] for one in found.blocks]
    total = [found.total.block, str(found.total.layers), _number(found.total.shared)]
    screen.result("", Columns(["block", "layers", "shared"], rows, total))
    screen.result(legend((MAP if moving else {}) | SHARED))


def _map(stack: Stack) -> list[list[str]]:
    return [
        [
            str(one.number),
            "new" if one.source is None else str(one.source),
            _number(one.cosine),
            _number(one.next),
        ]
        for one in stack.origins
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else fixed(value, 3)
