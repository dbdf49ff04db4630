"""`lathe demo`: the whole method on the tiny family that ships with loralathe."""

from __future__ import annotations

from pathlib import Path

import click

from loralathe.cli.language import spoken
from loralathe.cli.options import FilePath, LatheCommand
from loralathe.cli.screen import Screen

EPILOG = """\b
It makes two bases and two LoRAs, and plays the method on them: grids, blocks, merges,
extractions, Add difference with both signs, and the proof over many seeds. Every file, the
recipes and report.html stay in FOLDER. It takes a few minutes on two cores, and needs
loralathe[render], but no network and no GPU. After Ctrl-C the same command goes on.

\b
Examples:
  lathe demo
  lathe demo --out try --lang zh-TW
  lathe demo --quick
"""


@click.command(
    "demo",
    cls=LatheCommand,
    section="Pictures",
    short_help="Play the whole method on tiny models that come with loralathe.",
    epilog=EPILOG,
)
@click.option(
    "-o",
    "--out",
    type=FilePath(),
    default="demo-out",
    metavar="FOLDER",
    help="Where everything goes. Default: demo-out.",
)
@click.option("--quick", is_flag=True, help="Make only a few small grids, to see that it works.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout, text on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but errors.")
def demo_command(out: Path, quick: bool, as_json: bool, quiet: bool) -> None:
    """Play the whole method on a tiny family of models, and write a report about it."""
    from loralathe import need_libraries
    from loralathe.demo import DemoOptions, run_demo

    screen = Screen(as_json, quiet)
    need_libraries()
    options = DemoOptions(out, quick=quick, language=spoken())
    try:
        result = run_demo(options, screen.progress())
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what is finished is kept in {out}; the same command goes on") from None
    screen.event("demo", folder=out, report=result.report, chapters=result.numbers())
    screen.show(f"The story is told in {result.report.resolve()}")
    screen.show("Try it yourself in the browser: lathe ui")
