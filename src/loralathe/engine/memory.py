"""A recipe's step as tensors in memory: for studies that only want to look at it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.engine.options import RunOptions
from loralathe.engine.plan import WeightsOutput
from loralathe.engine.run import open_session
from loralathe.errors import InputError
from loralathe.language import Recipe, Save
from loralathe.progress import Progress

if TYPE_CHECKING:
    import torch


def evaluate_weights(
    recipe: Recipe,
    step: str,
    *,
    dtype: str | None = None,
    vae: Path | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
) -> dict[str, torch.Tensor]:
    """The checkpoint that `step` stands for, tensor by tensor, as a saved file would hold it.

    dtype, vae: as in [save]; without them each tensor keeps its own dtype, the model its own VAE.
    Nothing is written. Raises InputError for what `run_recipe` would refuse, and for a step that is an
    adapter or no step at all.
    """
    from loralathe.engine.execute import execute
    from loralathe.engine.sinks import MemoryWeights

    if step not in recipe.steps:
        raise InputError(f"the recipe has no step '{step}'", where=recipe.where)
    saved = replace(recipe, saves=(Save(step, Path(step), dtype, vae=vae, config_from="none"),))
    with open_session(saved, options) as session:
        (output,) = session.plan.outputs
        if not isinstance(output, WeightsOutput):
            raise InputError(f"step '{step}' is an adapter, not a model to look at", where=recipe.where)
        sink = MemoryWeights(output)
        execute(session, {step: sink}, progress or Progress())
    return sink.tensors
