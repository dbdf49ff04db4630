"""`lathe demo`: the whole method on the tiny family that ships with loralathe."""

from __future__ import annotations

import os
from pathlib import Path

import click

from loralathe.cli.options import FilePath
from loralathe.cli.screen import Screen

EPILOG = """\b
Makes two bases and two LoRAs, plays the method on them (grids, blocks, merges, extractions, Add
difference with both signs, the proof over many seeds), and leaves every file, the recipes and
report.html in FOLDER. A few minutes on two cores; needs loralathe[render], no network and no GPU.
Ctrl-C loses no finished picture: the same command goes on.

\b
Examples:
  lathe demo
  lathe demo --out try --lang zh-TW
  lathe demo --quick
"""


@click.command("demo", epilog=EPILOG)
@click.option(
    "-o",
    "--out",
    type=FilePath(),
    default="demo-out",
    metavar="FOLDER",
    help="Where everything goes. Default: demo-out.",
)
@click.option("--quick", is_flag=True, help="A few small grids: to see that it works.")
@click.option(
    "--lang",
    type=click.Choice(["zh-TW", "en"], case_sensitive=False),
    help="The report opens in this language. Default: that of this terminal.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout, text on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def demo_command(out: Path, quick: bool, lang: str | None, as_json: bool, quiet: bool) -> None:
    """Play the whole method on the tiny family, and leave a report to look at."""
    from loralathe.cli.render_setup import need_libraries, progress_of
    from loralathe.demo import DemoOptions, run_demo

    screen = Screen(as_json, quiet)
    need_libraries()
    options = DemoOptions(out, quick=quick, language=lang or _language_of_terminal())
    try:
        result = run_demo(options, progress_of(screen))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what is finished is kept in {out}; the same command goes on") from None
    screen.event("demo", folder=out, report=result.report, chapters=result.numbers())
    told = "做完了，請打開報告：" if options.language == "zh-TW" else "The story is told in "
    screen.show(f"{told}{result.report.resolve()}")


def _language_of_terminal() -> str:
    """zh-TW where the terminal speaks any Chinese, else English."""
    spoken = next(
        (os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), ""
    )
    return "zh-TW" if spoken.lower().startswith("zh") else "en"
