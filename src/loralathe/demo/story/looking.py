"""The first chapters look: the family, one LoRA at rising strength, two LoRAs crossed, block by block."""

from __future__ import annotations

from pathlib import Path

from loralathe.demo.judge import CAPTION, IS_HINA, IS_SAILOR
from loralathe.demo.material import Bar, Bars, Chapter, Picture, percent
from loralathe.demo.settings import BASE_A, HINA, PEOPLE, RANGE, SAILOR, SCENES
from loralathe.demo.story.figures import column_means, column_of, curve_text, figure_of, mean_score, row_of
from loralathe.demo.studio import Studio
from loralathe.demo.tasks import BlocksTask, GridTask, choices, numbers
from loralathe.strengths import show_number
from loralathe.studies import BlockEffect, BlockReport


def meet_family(studio: Studio) -> Chapter:
    """Both bases, side by side, drawing the same people."""
    people = PEOPLE[: studio.settings.people]
    task = GridTask(
        "01-family",
        (BASE_A,),
        people[0],
        x=choices("prompt s/r", people),
        y=choices("checkpoint", ("baseA", "baseB")),
        by_name=True,
    )
    result = studio.grid(task)
    a, b = (mean_score(row_of(result, at), CAPTION) for at in (0, 1))
    return Chapter(
        "family",
        parts=(figure_of(studio, task, result, "family", score=CAPTION),),
        numbers={"prompt_a": percent(a), "prompt_b": percent(b)},
    )


def try_strengths(studio: Studio) -> Chapter:
    """`hina`, then `sailor`, at rising strength on base A."""
    settings = studio.settings
    scenes = SCENES[: settings.scenes]
    hina = GridTask(
        "02-strength-hina",
        (BASE_A, HINA),
        f"hina, {scenes[0]}",
        x=numbers("hina", settings.strengths),
        y=choices("prompt s/r", scenes),
    )
    sailor = GridTask(
        "02-strength-sailor",
        (BASE_A, SAILOR),
        f"sailor, {PEOPLE[0]}",
        x=numbers("sailor", settings.strengths),
        y=choices("prompt s/r", PEOPLE[: max(1, settings.scenes - 1)]),
    )
    first, second = studio.grid(hina), studio.grid(sailor)
    curve = [mean_score(column_of(first, at), IS_HINA) for at in range(len(settings.strengths))]
    return Chapter(
        "strength",
        parts=(
            figure_of(studio, hina, first, "strength_hina"),
            column_means(first),
            figure_of(studio, sailor, second, "strength_sailor", score=IS_SAILOR),
        ),
        numbers={
            "strengths": ", ".join(f"{s:g}" for s in settings.strengths),
            "curve": curve_text(settings.strengths, curve),
        },
    )


def cross_two(studio: Studio) -> Chapter:
    """Both LoRAs at once, every strength of one with every strength of the other."""
    settings = studio.settings
    task = GridTask(
        "03-cross",
        (BASE_A, HINA, SAILOR),
        "hina, sailor, smiling, sky",
        x=numbers("hina", settings.crossed),
        y=numbers("sailor", settings.crossed),
    )
    result = studio.grid(task)
    top = len(settings.crossed) - 1
    both = column_of(result, top)[top]
    return Chapter(
        "cross",
        parts=(figure_of(studio, task, result, "cross"),),
        numbers={
            "hina_alone": percent(mean_score([row_of(result, 0)[top]], IS_HINA)),
            "hina_both": percent(mean_score([both], IS_HINA)),
            "sailor_alone": percent(mean_score([column_of(result, 0)[top]], IS_SAILOR)),
            "sailor_both": percent(mean_score([both], IS_SAILOR)),
        },
    )


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
        task.command(),
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
    """The suggested weights of the 12 blocks, which a strength multiplies: `1,0.43,…`."""
    assert report.weights_list is not None
    return report.weights_list


def _bar(folder: Path, report: BlockReport, effect: BlockEffect) -> Bar:
    mean = effect.changed.mean
    return Bar(
        effect.group.name,
        mean,
        mean if effect.changed.low is None else effect.changed.low,
        mean if effect.changed.high is None else effect.changed.high,
        show_number(effect.weight),
        Picture(folder / f"cells/{effect.keys[0]}.png"),
        Picture(folder / f"diffs/{effect.keys[0]}-black.png"),
    )


def clearly_below(report: BlockReport, strongest: BlockEffect) -> int:
    """How many blocks have intervals that end below where the strongest one's begins."""
    floor = strongest.changed.low
    highs = [effect.changed.high for effect in report.effects]
    return sum(1 for high in highs if floor is not None and high is not None and high < floor)
