"""Merging into base A, with one strength or a weight for each block, and subtracting base A again."""

from __future__ import annotations

from pathlib import Path

from loralathe.commands import command_line
from loralathe.demo.judge import CAPTION, IS_HINA
from loralathe.demo.material import Chapter, Table, mean, percent
from loralathe.demo.settings import (
    A_BLOCKS,
    A_FOUND,
    A_UNIFORM,
    BASE_A,
    FOUND_LIST,
    FOUND_NAME,
    HINA,
    LIST_NAME,
    LORA1_EXACT,
    PEOPLE,
    RANK,
    RANKS,
    SCENES,
    STRENGTH,
    extracted,
)
from loralathe.demo.story.figures import figure_of, mean_score, row_of
from loralathe.demo.story.looking import analysis, block_list
from loralathe.demo.studio import Studio
from loralathe.demo.tasks import FileTask, GridTask, choices
from loralathe.errors import Value
from loralathe.inspection import compare_files
from loralathe.language import Save, make_recipe
from loralathe.studies import CellStore, GridResult, changed_percentage, pixels_of


def merge_both_ways(studio: Studio) -> Chapter:
    """Three merged models beside the base: Hina on the same seeds, and other people, who should stay."""
    blocks = block_list(studio.blocks(analysis(studio)))
    tasks = (
        merge_task(studio, A_UNIFORM),
        merge_task(studio, A_BLOCKS, blocks),
        merge_task(studio, A_FOUND, FOUND_LIST, FOUND_NAME),
    )
    for task in tasks:
        studio.make(task)
    people = PEOPLE[: studio.settings.people]
    models = "checkpoint = baseA, A_uniform, A_blocks, A_found"
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
        for at in range(1 + len(tasks))
    ]
    names = ("@base_a", "@uniform", "@per_block", "@found")
    return Chapter(
        "merge",
        formulas=tuple(f"A1 = A + {STRENGTH:g}*hina{at}" for at in ("", f"@{LIST_NAME}", f"@{FOUND_NAME}")),
        parts=(
            figure_of(studio, hers, hina, "merged"),
            figure_of(studio, theirs, others, "others", score=CAPTION),
            Table(
                "merged_numbers",
                ("@col_identity", "@col_prompt", "@col_others", "@col_changed"),
                tuple(zip(names, measures, strict=True)),
                tuple(task.command for task in tasks),
            ),
        ),
        numbers={
            "list": FOUND_LIST,
            "strength": f"{STRENGTH:g}",
            **{
                f"{what}_{which}": row[column]
                for which, row in zip(("uniform", "blocks", "found"), measures[1:], strict=True)
                for what, column in (("identity", 0), ("others", 2), ("changed", 3))
            },
        },
    )


def merge_task(studio: Studio, name: str, blocks: str = "", called: str = LIST_NAME) -> FileTask:
    """`lathe merge`, uniform or with a list of this name."""
    at = f"@{called}" if blocks else ""
    recipe = make_recipe(
        inputs={"baseA": studio.path(BASE_A), "hina": studio.path(HINA)},
        steps={"merged": f"baseA + {STRENGTH!r}*hina{at}"},
        blocks={called: blocks} if blocks else {},
        saves=[Save("merged", studio.path(name))],
        where=name,
    )
    adapter = f"{HINA}:{STRENGTH:g}" + (f":{called}" if blocks else "")
    lists: dict[str, Value] = {"blocks": {called: blocks}} if blocks else {}
    return FileTask(recipe, command_line("merge", BASE_A, adapter, **lists, output=name))


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


ROUNDED = "hina_fp16.safetensors"


def subtract(studio: Studio) -> Chapter:
    """One exact LoRA and three from files, their energies, their distance, their pictures."""
    exact = exact_task(studio, LORA1_EXACT, f"extract(A + {STRENGTH!r}*hina - A, rank={RANK})")
    rounded = exact_task(studio, ROUNDED, f"extract(fp16(A + {STRENGTH!r}*hina) - A, rank={RANK})")
    from_files = {extracted(rank): extract_task(studio, rank) for rank in RANKS}
    for task in (exact, rounded, *from_files.values()):
        studio.make(task)
    files = (LORA1_EXACT, *from_files)
    grid = GridTask(
        "06-subtracted",
        (BASE_A, LORA1_EXACT),
        f"hina, {SCENES[0]}",
        x=f"seed = 1-{studio.settings.seeds}",
        y=choices("lora", tuple(file.removesuffix(".safetensors") for file in files)),
        by_name=True,
    )
    result = studio.grid(grid)
    looks = {file: mean_score(row_of(result, at), IS_HINA) for at, file in enumerate(files)}
    rows = [(file.removesuffix(".safetensors"), _numbers(studio, file, looks[file])) for file in files]
    rows.append((ROUNDED.removesuffix(".safetensors"), _numbers(studio, ROUNDED, None)))
    return Chapter(
        "subtract",
        formulas=(
            f"A1 - A = {STRENGTH:g}*hina",
            f"lora1 = extract(A1 - A, rank={RANK})",
            f"lora1 = extract(fp16(A + {STRENGTH:g}*hina) - A, rank={RANK})",
        ),
        parts=(
            Table(
                "subtracted_numbers",
                (
                    "@col_kept",
                    "@col_truncated",
                    "@col_noise",
                    "@col_distance",
                    "@col_layers",
                    "@col_size",
                    "@col_identity",
                ),
                tuple(rows),
                (exact.command, *(task.command for task in from_files.values()), rounded.command),
            ),
            figure_of(studio, grid, result, "subtracted"),
        ),
        numbers={
            "drift": percent(_distance(studio, extracted(RANK)), 2),
            "rank": str(RANK),
            "identity_exact": percent(looks[LORA1_EXACT]),
            "identity_files": percent(looks[extracted(RANK)]),
            "identity_low": percent(looks[extracted(RANKS[0])]),
            "low": str(RANKS[0]),
            "kept_low": percent(studio.energies(extracted(RANKS[0])).kept, 1),
            "drift_low": percent(_distance(studio, extracted(RANKS[0])), 1),
        },
    )


def exact_task(studio: Studio, name: str, formula: str) -> FileTask:
    """`lathe eval` of a formula over base A and hina."""
    recipe = make_recipe(
        inputs={"A": studio.path(BASE_A), "hina": studio.path(HINA)},
        steps={"result": formula},
        saves=[Save("result", studio.path(name))],
        where="the formula",
    )
    return FileTask(recipe, command_line("eval", formula, f"A={BASE_A}", f"hina={HINA}", output=name))


def extract_task(studio: Studio, rank: int) -> FileTask:
    """`lathe extract` from the merged file at a rank."""
    name = extracted(rank)
    recipe = make_recipe(
        inputs={"tuned": studio.path(A_UNIFORM), "base": studio.path(BASE_A)},
        steps={"lora": f"extract(tuned - base, rank={rank})"},
        saves=[Save("lora", studio.path(name), "fp16")],
        where="the extraction",
    )
    return FileTask(recipe, command_line("extract", A_UNIFORM, BASE_A, rank=rank, output=name))


def _numbers(studio: Studio, file: str, identity: float | None) -> tuple[str, ...]:
    energies = studio.energies(file)
    return (
        percent(energies.kept, 2),
        percent(energies.truncated, 2),
        percent(energies.noise, 4),
        percent(_distance(studio, file), 2),
        str(energies.modules),
        f"{studio.path(file).stat().st_size / 1e6:.2f} MB",
        "—" if identity is None else percent(identity),
    )


def _distance(studio: Studio, file: str) -> float:
    """From the exact LoRA, relative to it."""
    return compare_files(studio.path(LORA1_EXACT), studio.path(file)).total.difference or 0.0
