"""Merging into base A: one strength for all blocks, and a weight for each."""

from __future__ import annotations

from pathlib import Path

from loralathe.demo.material import Chapter, Table, mean, percent
from loralathe.demo.scorers import CAPTION, IS_HINA
from loralathe.demo.settings import SCENES, STRENGTH
from loralathe.demo.story.blocks import analysis, block_list
from loralathe.demo.story.figures import figure_of, mean_score, row_of
from loralathe.demo.story.names import A_BLOCKS, A_UNIFORM, BASE_A, HINA, LIST_NAME
from loralathe.demo.studio import Studio
from loralathe.demo.tasks import FileTask, GridTask
from loralathe.recipes import Save, make_recipe
from loralathe.studies import GridResult
from loralathe.studies.metrics import changed_percentage, pixels_of
from loralathe.studies.store import CellStore


def merge_both_ways(studio: Studio) -> Chapter:
    """Two merged models beside the base, on the same seeds, and what changed."""
    blocks = block_list(studio.blocks(analysis(studio)))
    uniform, per_block = merge_task(studio, A_UNIFORM), merge_task(studio, A_BLOCKS, blocks)
    studio.make(uniform)
    studio.make(per_block)
    task = GridTask(
        "05-merged",
        (BASE_A,),
        f"hina, {SCENES[0]}",
        x=f"seed = 1-{studio.settings.seeds}",
        y="checkpoint = baseA, A_uniform, A_blocks",
        by_name=True,
    )
    result = studio.grid(task)
    names = ("@base_a", "@uniform", "@per_block")
    rows = tuple((name, _measures(studio.path(task.name), result, at)) for at, name in enumerate(names))
    return Chapter(
        "merge",
        formulas=(f"A1 = A + {STRENGTH:g}*hina", f"A1 = A + {STRENGTH:g}*hina@{LIST_NAME}"),
        parts=(
            figure_of(studio, task, result, "merged"),
            Table(
                "merged_numbers",
                ("@col_identity", "@col_prompt", "@col_changed"),
                rows,
                (uniform.command, per_block.command),
            ),
        ),
        numbers={"list": blocks, "strength": f"{STRENGTH:g}"},
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
    lists = ("--blocks", f"{LIST_NAME}={blocks}") if blocks else ()
    return FileTask(recipe, ("merge", BASE_A, adapter, *lists, "-o", name))


def _measures(folder: Path, result: GridResult, at: int) -> tuple[str, ...]:
    """Identity, prompt following, and how much of the picture differs from base A's of the same seed."""
    cells, bases = row_of(result, at), row_of(result, 0)
    store = CellStore(folder)
    changed = [
        changed_percentage(pixels_of(store.open(cell.cell.key)), pixels_of(store.open(base.cell.key)), 20)
        for cell, base in zip(cells, bases, strict=True)
    ]
    return (
        percent(mean_score(cells, IS_HINA)),
        percent(mean_score(cells, CAPTION)),
        f"{mean(changed):.1f} %",
    )
