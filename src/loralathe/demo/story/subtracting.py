"""Subtracting the base again: by way of files, exactly, and what that really changes."""

from __future__ import annotations

from loralathe.demo.material import Chapter, Table, percent
from loralathe.demo.scorers import IS_HINA
from loralathe.demo.settings import RANK, RANKS, SCENES, STRENGTH
from loralathe.demo.story.figures import figure_of, mean_score, row_of
from loralathe.demo.story.names import A_UNIFORM, BASE_A, HINA, LORA1_EXACT, extracted
from loralathe.demo.studio import Studio
from loralathe.demo.tasks import FileTask, GridTask, choices, typed
from loralathe.inspection import compare_files
from loralathe.language import Save, make_recipe

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
    return FileTask(recipe, typed("eval", formula, f"A={BASE_A}", f"hina={HINA}", output=name))


def extract_task(studio: Studio, rank: int) -> FileTask:
    """`lathe extract` from the merged file at a rank."""
    name = extracted(rank)
    recipe = make_recipe(
        inputs={"tuned": studio.path(A_UNIFORM), "base": studio.path(BASE_A)},
        steps={"lora": f"extract(tuned - base, rank={rank})"},
        saves=[Save("lora", studio.path(name), "fp16")],
        where="the extraction",
    )
    return FileTask(recipe, typed("extract", A_UNIFORM, BASE_A, rank=rank, output=name))


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
