"""To base B: carry the LoRA over, add the difference of the bases, extract once more, and the proof."""

from __future__ import annotations

from dataclasses import replace

from loralathe.commands import command_line
from loralathe.demo.judge import CAPTION, IS_HINA, trait_probabilities
from loralathe.demo.material import Chapter, Code, Table, mean, percent
from loralathe.demo.settings import (
    B1,
    BASE_B,
    CARRY,
    DIRECTIONS,
    FINAL_RANK,
    LORA1,
    MULTIPLIERS,
    PROVED,
    RANK,
    SCENES,
    STRENGTH,
    lora_of,
    model_of,
    recipe_text,
)
from loralathe.demo.story.figures import (
    column_means,
    column_of,
    curve_text,
    figure_of,
    mean_score,
    means_of,
    row_of,
)
from loralathe.demo.story.looking import analysis, block_list
from loralathe.demo.studio import Studio
from loralathe.demo.tasks import FileTask, GridTask, choices, numbers
from loralathe.language import Save, make_recipe, read_recipe
from loralathe.studies import CellStore, GridResult
from loralathe.tensorfiles import write_whole


def carry_over(studio: Studio) -> Chapter:
    """The extracted LoRA on the other base, and merged into it."""
    settings = studio.settings
    name = LORA1.removesuffix(".safetensors")
    scenes = SCENES[: settings.scenes]
    task = GridTask(
        "07-on-B",
        (BASE_B, LORA1),
        f"hina, {scenes[0]}",
        x=numbers(name, settings.strengths),
        y=choices("prompt s/r", scenes),
    )
    result = studio.grid(task)
    merge = _merge_b(studio)
    studio.make(merge)
    curve = [mean_score(column_of(result, at), IS_HINA) for at in range(len(settings.strengths))]
    return Chapter(
        "carry",
        formulas=(f"B1 = B + {CARRY!r}*lora1",),
        parts=(
            figure_of(studio, task, result, "carried"),
            column_means(result),
            Code("merge_b", B1, merge.command),
        ),
        numbers={
            "curve": curve_text(settings.strengths, curve),
            "carry": f"{CARRY:g}",
            "strength": f"{STRENGTH:g}",
            "file": LORA1,
        },
    )


def _merge_b(studio: Studio) -> FileTask:
    name = LORA1.removesuffix(".safetensors")
    strength = "" if CARRY == 1 else f"{CARRY!r}*"
    recipe = make_recipe(
        inputs={"baseB": studio.path(BASE_B), name: studio.path(LORA1)},
        steps={"merged": f"baseB + {strength}{name}"},
        saves=[Save("merged", studio.path(B1))],
        where=B1,
    )
    return FileTask(recipe, command_line("merge", BASE_B, f"{LORA1}:{CARRY:g}", output=B1))


def write_recipes(studio: Studio) -> dict[str, str]:
    """Both recipes into the demo's folder, where they are not there word for word; direction → text."""
    blocks = block_list(studio.blocks(analysis(studio)))
    texts = {}
    for direction, sign, title in DIRECTIONS:
        texts[direction] = text = recipe_text(direction, sign, f"Add difference {title}", blocks)
        path = studio.path(f"{direction}.toml")
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text.encode())
    return texts


def add_difference(studio: Studio) -> Chapter:
    """M through both signs, made in memory; and the one at which Hina gains, in B's drawing."""
    texts = write_recipes(studio)
    scenes = SCENES[: studio.settings.swept]
    task = GridTask(
        "08-difference",
        (),
        f"hina, {scenes[0]}",
        x=numbers("M", studio.settings.differences),
        y=choices("prompt s/r", scenes),
        recipe="away.toml",
    )
    result = studio.grid(task)
    differences = studio.settings.differences
    likeness, style = means_of(result, IS_HINA), styles_of(studio, task, result)
    zero = differences.index(0)
    best = max((at for at, share in enumerate(style) if share >= STYLE_KEPT), key=lambda at: likeness[at])
    return Chapter(
        "difference",
        formulas=("B2 = B1 - M*(B - A)", "B2 = B1 + M*(B - A)"),
        parts=(
            figure_of(studio, task, result, "difference"),
            column_means(result, ("@col_style", style)),
            Code("recipe", "away.toml", texts["away"]),
        ),
        numbers={
            **{
                name: percent(likeness[at]) for name, at in (("towards", 0), ("middle", zero), ("best", best))
            },
            "away": percent(likeness[-1]),
            "away_prompt": percent(means_of(result, CAPTION)[-1]),
            "towards_style": percent(style[0]),
            "best_style": percent(style[best]),
            "m_low": f"{differences[0]:g}",
            "m_best": f"{differences[best]:g}",
            "m_high": f"{differences[-1]:g}",
        },
    )


STYLE_KEPT = 0.9
"""From this share on a model draws as base B does."""


def styles_of(studio: Studio, task: GridTask, result: GridResult) -> list[float]:
    """For each column how sure the judge is that its pictures are drawn as base B draws, in sketches."""
    x, _, _ = result.plan.axes
    store, at = CellStore(studio.path(task.name)), studio.judge.knowledge.questions["drawing"].index("sketch")
    shares = []
    for column in range(len(x.values)):
        images = [store.open(cell.cell.key) for cell in column_of(result, column)]
        shares.append(float(studio.judge.answers(images)["drawing"][:, at].mean()))
    return shares


def extract_again(studio: Studio) -> Chapter:
    """The last models and LoRAs of both directions, side by side."""
    tasks = {direction: run_task(studio, direction) for direction, _, _ in DIRECTIONS}
    for task in tasks.values():
        studio.make(task)
    seeds = f"seed = 1-{studio.settings.seeds}"
    prompt = f"hina, {SCENES[0]}"
    stems = {direction: (f"B2_{direction}", f"lora2_{direction}") for direction in tasks}
    models = GridTask(
        "09-models",
        (model_of("towards"),),
        prompt,
        x=seeds,
        y=choices("checkpoint", tuple(model for model, _ in stems.values())),
        by_name=True,
    )
    loras = GridTask(
        "09-loras",
        (BASE_B, lora_of("towards")),
        prompt,
        x=seeds,
        y=choices("lora", tuple(lora for _, lora in stems.values())),
        by_name=True,
    )
    drawn, worn = studio.grid(models), studio.grid(loras)
    rows = []
    for at, direction in enumerate(tasks):
        energies = studio.energies(lora_of(direction))
        rows.append(
            (
                f"@{direction}",
                (
                    percent(energies.kept, 1),
                    percent(energies.truncated, 1),
                    percent(energies.outside, 1),
                    percent(mean_score(row_of(drawn, at), IS_HINA)),
                    percent(mean_score(row_of(worn, at), IS_HINA)),
                ),
            )
        )
    return Chapter(
        "again",
        formulas=(f"lora2 = extract(B2 - B, rank={FINAL_RANK}, conv_rank={FINAL_RANK})",),
        parts=(
            figure_of(studio, models, drawn, "models"),
            figure_of(studio, loras, worn, "loras"),
            Table(
                "again_numbers",
                ("@col_kept", "@col_truncated", "@col_outside", "@col_model", "@col_lora"),
                tuple(rows),
                tuple(task.command for task in tasks.values()),
            ),
        ),
        numbers={
            "rank": str(RANK),
            "last": str(FINAL_RANK),
            **{f"m_{direction}": f"{m:g}" for direction, m in MULTIPLIERS.items()},
        },
    )


def run_task(studio: Studio, direction: str) -> FileTask:
    """`lathe run` of one of the recipes."""
    return FileTask(read_recipe(studio.path(f"{direction}.toml")), command_line("run", f"{direction}.toml"))


def prove(studio: Studio) -> Chapter:
    """The last model without any LoRA, and base B with the last LoRA."""
    scenes = SCENES[: studio.settings.proof_scenes]
    prompt, seeds = f"hina, {scenes[0]}", f"seed = 1-{studio.settings.proof_seeds}"
    model = GridTask("10-proof-model", (model_of(PROVED),), prompt, seeds, choices("prompt s/r", scenes))
    lora = replace(model, name="10-proof-lora", files=(BASE_B, lora_of(PROVED)))
    drawn, worn = studio.grid(model), studio.grid(lora)
    traits = [_traits(studio, task, result) for task, result in ((model, drawn), (lora, worn))]
    rows = [(f"@trait_{name}", tuple(percent(found[name]) for found in traits)) for name in traits[0]]
    rows.append(("@col_identity", tuple(percent(_mean(result, IS_HINA)) for result in (drawn, worn))))
    rows.append(("@col_prompt", tuple(percent(_mean(result, CAPTION)) for result in (drawn, worn))))
    return Chapter(
        "proof",
        parts=(
            figure_of(studio, model, drawn, "proof_model"),
            figure_of(studio, lora, worn, "proof_lora"),
            Table("proof_numbers", ("@col_model", "@col_lora"), tuple(rows)),
        ),
        numbers={
            "pictures": str(len(drawn.cells)),
            "identity_model": percent(_mean(drawn, IS_HINA)),
            "identity_lora": percent(_mean(worn, IS_HINA)),
            "prompt_model": percent(_mean(drawn, CAPTION)),
            "prompt_lora": percent(_mean(worn, CAPTION)),
        },
    )


def _mean(result: GridResult, score: str) -> float:
    return mean_score(list(result.cells), score)


def _traits(studio: Studio, task: GridTask, result: GridResult) -> dict[str, float]:
    """Trait → its mean probability over all pictures."""
    store = CellStore(studio.path(task.name))
    images = [store.open(cell.cell.key) for cell in result.cells]
    return {name: mean(values) for name, values in trait_probabilities(studio.judge, "hina", images).items()}
