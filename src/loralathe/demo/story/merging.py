"""Merging into base A: one strength for all blocks, and a weight for each."""

from __future__ import annotations

from pathlib import Path

from loralathe.demo.material import Chapter, Table, mean, percent
from loralathe.demo.scorers import CAPTION, IS_HINA
from loralathe.demo.settings import PEOPLE, SCENES, STRENGTH
from loralathe.demo.story.blocks import analysis, block_list
from loralathe.demo.story.figures import figure_of, mean_score, row_of
from loralathe.demo.story.names import A_BLOCKS, A_UNIFORM, BASE_A, HINA, LIST_NAME
from loralathe.demo.studio import Studio
from loralathe.demo.tasks import FileTask, GridTask, choices, typed
from loralathe.errors import Value
from loralathe.language import Save, make_recipe
from loralathe.studies import GridResult
from loralathe.studies.metrics import changed_percentage, pixels_of
from loralathe.studies.store import CellStore


def merge_both_ways(studio: Studio) -> Chapter:
    """Two merged models beside the base: Hina on the same seeds, and other people, who should stay."""
    blocks = block_list(studio.blocks(analysis(studio)))
    uniform, per_block = merge_task(studio, A_UNIFORM), merge_task(studio, A_BLOCKS, blocks)
    studio.make(uniform)
    studio.make(per_block)
    people = PEOPLE[: studio.settings.people]
    models = "checkpoint = baseA, A_uniform, A_blocks"
    seeds = f"seed = 1-{studio.settings.seeds}"
    hers = GridTask("05-merged", (BASE_A,), f"hina, {SCENES[0]}", seeds, models, by_name=True)
    theirs = GridTask("05-others", (BASE_A,), people[0], choices("prompt s/r", people), models, by_name=True)
    hina, others = studio.grid(hers), studio.grid(theirs)
    measures = [
        (
            percent(mean_score(row_of(hina, at), IS_HINA)),
            percent(mean_score(row_of(hina, at), CAPTION)),
            percent(mean_score(row_of(others, at), CAPTION)),
            f"{_changed(studio.path(theirs.name), others, at):.1f} %",
        )
        for at in range(3)
    ]
    names = ("@base_a", "@uniform", "@per_block")
    return Chapter(
        "merge",
        formulas=(f"A1 = A + {STRENGTH:g}*hina", f"A1 = A + {STRENGTH:g}*hina@{LIST_NAME}"),
        parts=(
            figure_of(studio, hers, hina, "merged"),
            figure_of(studio, theirs, others, "others", score=CAPTION),
            Table(
                "merged_numbers",
                ("@col_identity", "@col_prompt", "@col_others", "@col_changed"),
                tuple(zip(names, measures, strict=True)),
                (uniform.command, per_block.command),
            ),
        ),
        numbers={
            "list": blocks,
            "strength": f"{STRENGTH:g}",
            "identity_uniform": measures[1][0],
            "identity_blocks": measures[2][0],
            "changed_uniform": measures[1][-1],
            "changed_blocks": measures[2][-1],
        },
    )


def merge_task(studio: Studio, name: str, blocks: str = "") -> FileTask:
    """`lathe merge`, uniform or with the list `HinaBlock`."""
    at = f"@{LIST_NAME}" if blocks else ""
    recipe = make_recipe(
        inputs={"baseA": studio.path(BASE_A), "hina": studio.path(HINA)},
        steps={"merged": f"baseA + {STRENGTH!r}*hina{at}"},
        blocks={LIST_NAME: blocks} if blocks else {},
        saves=[Save("merged", studio.path(name))],
        where=name,
    )
    adapter = f"{HINA}:{STRENGTH:g}" + (f":{LIST_NAME}" if blocks else "")
    lists: dict[str, Value] = {"blocks": {LIST_NAME: blocks}} if blocks else {}
    return FileTask(recipe, typed("merge", BASE_A, adapter, **lists, output=name))


def _changed(folder: Path, result: GridResult, at: int) -> float:
    """How many colour values of a row differ from base A's picture of the same prompt, in per cent."""
    store = CellStore(folder)
    pairs = zip(row_of(result, at), row_of(result, 0), strict=True)
    return mean(
        [
            changed_percentage(pixels_of(store.open(cell.cell.key)), pixels_of(store.open(base.cell.key)), 20)
            for cell, base in pairs
        ]
    )
