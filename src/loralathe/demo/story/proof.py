"""The proof: many seeds, many prompts, the same face."""

from __future__ import annotations

from dataclasses import replace

from loralathe.demo.material import Chapter, Table, mean, percent
from loralathe.demo.scorers import CAPTION, IS_HINA, trait_probabilities
from loralathe.demo.settings import PROVED, SCENES
from loralathe.demo.story.figures import figure_of, mean_score
from loralathe.demo.story.names import BASE_B, lora_of, model_of
from loralathe.demo.studio import Studio
from loralathe.demo.tasks import GridTask, choices
from loralathe.studies import GridResult
from loralathe.studies.store import CellStore


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
    return {name: mean(values) for name, values in trait_probabilities(studio.bench, "hina", images).items()}
