"""`lathe blocks --segments`: what is shown before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from loralathe import InputError, counted, points
from loralathe.cli.options import Whole
from loralathe.cli.picture_options import Profile, pictures_kept
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Columns, Facts

if TYPE_CHECKING:
    from loralathe import OpenModel, PreparedSegments, SegmentsReport

OTHERS = {"range": "--range", "coarse": "--coarse", "coarse_floor": "--coarse-floor", "swap": "--swap"}
"""Options that mean nothing beside --segments."""

SEGMENT_OPTIONS = [
    click.option(
        "--segments",
        is_flag=True,
        help="Each segment alone and left out, halves of those that matter, until the order is certain.",
    ),
    click.option(
        "--most-seeds",
        type=Whole(min=2),
        default=16,
        metavar="N",
        help="With --segments: most seeds of a segment; --seeds at first, 2 or more. Default: 16.",
    ),
]


def take_segment_options(options: dict[str, Any]) -> dict[str, Any] | None:
    """The options of --segments, taken out; None without it. InputError for those that do not go together."""
    wanted, most = options.pop("segments"), options.pop("most_seeds")
    context = click.get_current_context()

    def typed(name: str) -> bool:
        source = context.get_parameter_source(name)
        return source is click.core.ParameterSource.COMMANDLINE

    if not wanted:
        if typed("most_seeds"):
            raise InputError("--most-seeds belongs to --segments", fix="add --segments, or leave it out")
        return None
    for name, flag in OTHERS.items():
        if typed(name):
            raise InputError(f"{flag} means nothing with --segments", fix="leave it out")
        options.pop(name)
    seeds = options.pop("seeds") if typed("seeds") else 2
    return {"most_seeds": most, "seeds": seeds}


def run_segments(
    screen: Screen,
    model: OpenModel,
    adapters: tuple[str, ...],
    options: dict[str, Any],
    profile: Profile,
    *,
    dry_run: bool,
) -> None:
    """The whole command."""
    from loralathe import prepare_segments

    prepared = prepare_segments(model, *adapters, **options)
    profile.save(screen, dry_run=dry_run)
    if dry_run:
        _show_plan(screen, prepared)
        return
    folder = prepared.options.blocks.folder
    with pictures_kept(folder):
        report = prepared.run()
    show_segments(screen, report)


def _show_plan(screen: Screen, prepared: PreparedSegments) -> None:
    plan, options = prepared.plan(), prepared.options
    for text in plan.issues:
        screen.note(text)
    names = [" ".join(blocks) for blocks in plan.cuts]
    screen.event("plan", folder=options.blocks.folder, segments=plan.cuts, pictures=plan.pictures)
    rows = [
        *((f"segment {number}", text) for number, text in enumerate(names, 1)),
        ("pictures", f"{plan.pictures} at first, more where a segment matters"),
        ("into", str(options.blocks.folder)),
    ]
    screen.show(heading(f"would examine {counted(len(names), 'segment')}"), Facts(rows))


def _interval(value: Any) -> str:
    if value.low is None or value.high is None:
        return "too few seeds"
    return f"{points(value.low)} … {points(value.high)}"


def show_segments(screen: Screen, report: SegmentsReport) -> None:
    """The segments in order of value, pairs, the weights to paste, the files."""
    screen.event("segments", report=report)
    rows = [
        [
            one.name,
            points(one.value.mean),
            "too few seeds"
            if one.value.low is None
            else f"{points(one.value.low)} … {points(one.value.high or 0)}",
            points(one.alone.mean),
            points(one.without.mean),
            str(len(one.value.values)),
            f"{one.weight:g}",
            "" if one.certain else "order not certain",
        ]
        for one in report.segments
    ]
    names = ["segment", "value", "95 %", "alone", "without", "seeds", "weight", ""]
    what = "likeness" if report.likeness else "change of the picture"
    screen.result(
        heading(f"segments of {report.adapter} by {what}, in points of 100"), "", Columns(names, rows)
    )
    by_name = {path.name: path for path in report.files}
    pairs = [f"{pair.one} + {pair.other}: {points(pair.extra.mean)}" for pair in report.pairs if pair.is_sure]
    facts = [
        ("compensate", "; ".join(pairs) if pairs else "no pair, as far as it is sure"),
        ("pictures", f"{report.pictures}, {report.rendered} of them rendered now"),
        ("page", str(by_name["segments.html"])),
        ("numbers", f"{by_name['segments.csv']}, segments.json"),
    ]
    screen.show(Facts(facts))
    screen.show("", heading("weights to start from, and the merge that takes them"))
    pasted = [
        report.weights_list or report.weights_by_name,
        *([report.recipe.command] if report.recipe else []),
    ]
    screen.verbatim(*(f"  {line}" for line in pasted))
