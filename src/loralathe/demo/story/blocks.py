"""The Effective Block Analyzer, and a block list made of what it found."""

from __future__ import annotations

from pathlib import Path

from loralathe.demo.material import Bar, Bars, Chapter, Picture
from loralathe.demo.settings import RANGE, SCENES
from loralathe.demo.story.names import BASE_A, HINA
from loralathe.demo.studio import Studio
from loralathe.demo.tasks import BlocksTask
from loralathe.studies import BlockReport
from loralathe.studies.analyzer import BlockEffect
from loralathe.studies.values import show_number


def analysis(studio: Studio) -> BlocksTask:
    """The analyzer as the article sets it: from 0.3 to 0.7, SDXL's 12 blocks; over several seeds."""
    return BlocksTask("04-blocks", (BASE_A, HINA), f"hina, {SCENES[0]}", RANGE, studio.settings.analyzed)


def find_blocks(studio: Studio) -> Chapter:
    """What each block does to the picture, and which of them stand out."""
    task = analysis(studio)
    report = studio.blocks(task)
    strongest = max(report.effects, key=lambda effect: effect.changed.mean)
    weakest = min(report.effects, key=lambda effect: effect.changed.mean)
    bars = Bars(
        "blocks",
        task.command(studio.settings.steps),
        Picture(studio.path(task.name) / f"cells/{report.sources[0]}.png"),
        tuple(_bar(studio.path(task.name), report, effect) for effect in report.effects),
        f"{task.name}/blocks.html",
    )
    return Chapter(
        "blocks",
        parts=(bars,),
        numbers={
            "pictures": str(report.pictures),
            "seeds": str(len(report.seeds)),
            "strongest": strongest.group.name,
            "strongest_mean": f"{strongest.changed.mean:.1f} %",
            "weakest": weakest.group.name,
            "weakest_mean": f"{weakest.changed.mean:.1f} %",
            "separated": str(clearly_below(report, strongest)),
            "list": block_list(report),
        },
    )


def block_list(report: BlockReport) -> str:
    """The suggested weights as parts of full strength, in the order of the 12 blocks: `1,0.45,…`.

    The analyzer gives weights between the two of its range; divided by the upper one they are what a list
    holds that is multiplied by a strength.
    """
    return ",".join(show_number(round(effect.weight / report.others, 2)) for effect in report.effects)


def _bar(folder: Path, report: BlockReport, effect: BlockEffect) -> Bar:
    mean = effect.changed.mean
    return Bar(
        effect.group.name,
        mean,
        mean if effect.changed.low is None else effect.changed.low,
        mean if effect.changed.high is None else effect.changed.high,
        show_number(round(effect.weight / report.others, 2)),
        Picture(folder / f"cells/{effect.keys[0]}.png"),
        Picture(folder / f"diffs/{effect.keys[0]}-black.png"),
    )


def clearly_below(report: BlockReport, strongest: BlockEffect) -> int:
    """How many blocks have intervals that end below where the strongest one's begins."""
    floor = strongest.changed.low
    highs = [effect.changed.high for effect in report.effects]
    return sum(1 for high in highs if floor is not None and high is not None and high < floor)
