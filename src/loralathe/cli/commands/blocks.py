"""`lathe blocks`: what each block of a LoRA does, in pictures or in its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe import InputError, counted, few, fixed
from loralathe.cli.estimates import estimate_rows
from loralathe.cli.judging_options import card_option
from loralathe.cli.language import say, say_label
from loralathe.cli.options import FilePath, PictureCommand, Share, Whole, stack
from loralathe.cli.picture_options import (
    Profile,
    picture_options,
    pictures_kept,
    take_model_options,
    take_picture_screen,
)
from loralathe.cli.screen import Screen, heading
from loralathe.cli.segments import SEGMENT_OPTIONS, run_segments, take_segment_options
from loralathe.cli.study_options import study_options
from loralathe.cli.text import Columns, Facts, figures, laid_out, legend, percent

if TYPE_CHECKING:
    from rich.table import Table

    from loralathe import BlockReport, BlockWeight, PreparedBlocks, WeightStudy

MEANINGS = {
    "‖Δ‖/‖W‖": "size of the change beside the weights that it changes, at strength 1",
    "energy %": "share of the block in the whole change, of its squares",
    "effective": "how many directions count, exp of the entropy of the singular values",
    "90 %, 99 %": "how many singular values hold this share of the energy, mean over the layers",
}
BESIDE_ANOTHER = {"cosine, up, down": "against a second LoRA, as in lathe compare"}
EPILOG = f"""\b
In pictures: one block after the other gets the first weight of --range, while all others have the
second. Each picture is compared with the one in which all blocks have the second weight. This
takes one picture more than there are blocks, for every seed.

\b
In segments (--segments): neighbouring blocks together, each alone and left out of the whole LoRA,
on the same seeds. Those that matter are halved. Pairs of which one does the other's work are
told.

\b
In weights (--weights): this is instant, nothing is rendered.
{laid_out(MEANINGS | BESIDE_ANOTHER, "  ")}

\b
Examples:
  lathe blocks baseA.safetensors hina.safetensors --prompt "a girl" --range "0,1" --seeds 3
  lathe blocks baseA.safetensors hina.safetensors --prompt girl --range "0.3,0.7" --blocks 12ALL
  lathe blocks baseA.safetensors hina.safetensors --prompt girl --blocks "BASE, IN04-IN08, MID"
  lathe blocks baseA.safetensors hina.safetensors --prompt "hina" --segments --card hina.card
  lathe blocks --weights baseA.safetensors hina.safetensors mio.safetensors
"""
BESIDE_THE_BARS, OF_A_CARD = 60, 19
"""Columns that the chart's numbers take, and those of likeness beside them."""
WIDEST = 24
NARROWEST = 6
"""Of a bar; where there is not even so much room for one, only numbers are shown."""
NUMBERS, COMPARED = 64, 26
"""Columns that the numbers take, and those of a comparison beside them."""


@click.command(
    "blocks",
    cls=PictureCommand,
    section="Pictures",
    short_help="Find out what each block of a LoRA does, in pictures or in weights.",
    epilog=EPILOG,
)
@click.argument("checkpoint", type=FilePath(), metavar="CHECKPOINT")
@click.argument("adapters", nargs=-1, metavar="ADAPTER…")
@click.option(
    "--weights", is_flag=True, help="Look at the weights only, and render nothing; a second LoRA is compared."
)
@click.option(
    "--range",
    "range",
    default="0.5,1",
    metavar="X,Y",
    help="Weight of the examined block, and weight of all others. Default: 0.5,1.",
)
@click.option(
    "--blocks",
    "blocks",
    default="",
    metavar="BLOCKS",
    help="Which blocks: 12ALL, 17ALL, 20ALL, 26ALL, a --list, or names. Default: those that the LoRA has.",
)
@click.option(
    "--threshold",
    type=Whole(0, 255),
    default=20,
    metavar="N",
    help="Count a channel of a pixel when it changes by more than N. Default: 20.",
)
@click.option(
    "--color",
    type=click.Choice(["black", "white"]),
    default="black",
    help="Background of the difference pictures. Default: black.",
)
@click.option("--swap", is_flag=True, help="Blocks as columns, values as rows.")
@click.option(
    "--seeds",
    type=Whole(min=1),
    default=1,
    metavar="N",
    help="Render N seeds, and tell mean and interval. Default: 1.",
)
@click.option("--coarse", is_flag=True, help="Examine groups first, then halve only the groups that matter.")
@click.option(
    "--coarse-floor",
    type=Share(),
    default=0.1,
    metavar="X",
    help="With --coarse: do not divide groups whose effect is below X times the strongest. Default: 0.1.",
)
@card_option("An identity card (lathe identity make): what each block does to the likeness.")
@stack(SEGMENT_OPTIONS)
@click.option("--te", is_flag=True, help="Examine each text encoder as a block of its own.")
@click.option("--adapter", default="", metavar="NAME", help="Which LoRA to examine, if there are several.")
@study_options(
    "blocks.html",
    "Folder of the study. Default: one here, named after the inputs.",
    "files, prompt or range",
)
@click.option(
    "--threads",
    type=Whole(min=1),
    metavar="N",
    help="Worker threads of --weights. Default: one on every core.",
)
@picture_options(lists="--list", short=())
def blocks_command(
    checkpoint: Path,
    adapters: tuple[str, ...],
    weights: bool,
    threads: int | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Find out what each block of a LoRA does: render and measure it, or look at its weights."""
    from loralathe import open_model

    screen, profile = take_picture_screen(options), Profile(options)
    opening = take_model_options(options)
    opening["progress"] = screen.progress()
    chosen = take_segment_options(options)
    if weights:
        _from_weights(checkpoint, adapters, threads, screen, opening)
        return
    with open_model(checkpoint, **opening) as model:
        if chosen is not None:
            run_segments(screen, model, adapters, options | chosen, profile, dry_run=dry_run)
            return
        prepared = model.prepare_blocks(*adapters, **options)
        profile.save(screen, dry_run=dry_run)
        if dry_run:
            _show_plan(screen, prepared)
            return
        folder = prepared.options.folder
        with pictures_kept(folder):
            report = prepared.run()
    show_blocks(screen, folder, report)


def _from_weights(
    checkpoint: Path, adapters: tuple[str, ...], threads: int | None, screen: Screen, opening: dict[str, Any]
) -> None:
    from loralathe import block_weights

    if not 1 <= len(adapters) <= 2:
        raise InputError(
            f"--weights takes one LoRA, or two to compare, not {len(adapters)}",
            fix="lathe blocks --weights baseA.safetensors hina.safetensors",
        )
    given = {name: opening[name] for name in ("lora_dir", "checkpoint_dir", "allow_unmatched", "progress")}
    show_weights(screen, block_weights(checkpoint, *adapters, threads=threads, **given))


def _show_plan(screen: Screen, prepared: PreparedBlocks) -> None:
    """--dry-run: which blocks, how many pictures, and what they will take."""
    from loralathe import estimate

    plan, options = prepared.plan(), prepared.options
    found = estimate(prepared, plan)
    for text in plan.issues:
        screen.note(text)
    screen.event(
        "plan",
        folder=options.folder,
        blocks=plan.blocks,
        lacking=plan.lacking,
        pictures=plan.pictures,
        coarse=options.coarse,
        estimate=found,
    )
    more = " at first, and more where a group matters" if options.coarse else ""
    rows = [
        ("blocks", " ".join(plan.blocks)),
        *([("left out", f"{' '.join(plan.lacking)} (not in this family)")] if plan.lacking else []),
        ("weights", f"{plan.examined:g} for one block at a time, {plan.others:g} for all others"),
        ("pictures", f"{plan.pictures}: (blocks + 1) × {counted(options.seeds, 'seed')}{more}"),
        *estimate_rows(found),
        ("into", str(options.folder)),
    ]
    title = counted(plan.first, "group" if options.coarse else "block")
    screen.show(heading(f"would examine {title}"), Facts(rows))


def show_blocks(screen: Screen, folder: Path, report: BlockReport) -> None:
    """The bar chart, the weights to paste, the files to look at."""
    from loralathe import bar_chart

    screen.event("blocks", folder=folder, report=report)
    beside = BESIDE_THE_BARS + (OF_A_CARD if report.likeness is not None else 0)
    screen.result(_said(bar_chart(report, max(16, min(40, screen.console.width - beside)))))
    there = report.pictures - report.rendered
    by_name = {path.name: path for path in report.files}
    sheets = [str(path) for path in report.files if path.suffix == ".png"]
    rows = [
        ("pictures", f"{report.rendered} rendered" + (f", {there} were there already" if there else "")),
        ("sheets" if len(sheets) > 1 else "sheet", few(sheets)),
        ("page", str(by_name["blocks.html"])),
        ("numbers", f"{by_name['blocks.csv']}, blocks.json"),
    ]
    screen.show(Facts(rows))
    pasted = [
        report.weights_list or report.weights_by_name,
        *([report.recipe.command] if report.recipe else []),
    ]
    screen.show("", heading("weights to start from, and the merge that takes them"))
    full = f"{report.strength:g}"
    screen.show(f"1 stands for the weight {full} of the range; the strength of a merge multiplies the list")
    screen.verbatim(*(f"  {line}" for line in pasted))


def _said(chart: Table) -> Table:
    """The chart with its words in the person's language."""
    chart.title = say(str(chart.title))
    for column in chart.columns:
        column.header = say_label(str(column.header))
    return chart


def show_weights(screen: Screen, found: WeightStudy) -> None:
    """A bar for every block: how large its delta is beside the weights that it changes."""
    screen.event("weights", weights=found)
    rows = [("checkpoint", str(found.checkpoint)), ("adapter", str(found.adapter))]
    rows += [("beside", str(found.other))] if found.other else []
    if found.unmatched:
        rows.append(("unmatched", f"{counted(len(found.unmatched), 'module')}: {few(found.unmatched)}"))
    room = screen.console.width - NUMBERS - (COMPARED if found.other else 0)
    width = min(room, WIDEST) if room >= NARROWEST else 0
    columns = ["block", *(["‖Δ‖/‖W‖".ljust(width), ""] if width else ["‖Δ‖/‖W‖"])]
    columns += ["energy %", "rank", "effective", "90 %", "99 %"]
    columns += ["cosine", "up", "down"] if found.other else []
    top = max((block.ratio or 0.0 for block in found.blocks), default=0.0) or 1.0
    shares = [(block, (block.ratio or 0.0) / top) for block in found.blocks]
    lines = [_row(block, share, width, bool(found.other)) for block, share in shares]
    total = _row(found.total, 0.0, width, bool(found.other))
    screen.result(heading("blocks by their weights, at strength 1"), Facts(rows), "")
    screen.result(Columns(columns, lines, total), legend(MEANINGS | (BESIDE_ANOTHER if found.other else {})))


def _row(block: BlockWeight, share: float, width: int, compared: bool) -> list[str]:
    """A line; `share` is the length of its bar, 1 for the longest."""
    from loralathe import bar

    row = [
        block.block,
        *([bar(share, width).ljust(width)] if width else []),
        _number(block.ratio, 4),
        percent(block.share),
        str(block.rank),
        *(f"{value:.1f}" for value in (block.spread, block.rank90, block.rank99)),
    ]
    return row + [_fixed(value) for value in (block.cosine, block.up, block.down)] * compared


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else "0" if value == 0 else figures(value, digits)


def _fixed(value: float | None) -> str:
    return "–" if value is None else fixed(value, 3)
