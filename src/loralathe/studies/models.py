"""Models with LoRAs merged into them, in memory: pictures of the very files that recipes make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.engine import RunOptions, evaluate_weights, open_session
from loralathe.errors import InputError
from loralathe.progress import Progress
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse
from loralathe.studies.commands import MERGED, model_recipe
from loralathe.studies.plan import Job
from loralathe.studies.recipes import RecipeWeights

if TYPE_CHECKING:
    from torch import Tensor

    from loralathe.language import Recipe


Of = tuple[str, tuple[AdapterUse, ...]]
"""What decides a merged model: the checkpoint, and the LoRAs with their strengths."""


class MadeModels:
    """The model behind a job, as its recipe makes it, rounded as the file is; one is held at a time.

    held: where the tensors lie, name → tensors; a renderer takes it as its `weights`.
    before: called before others are made, so that a renderer can let go of the old ones.
    recipe: whose result the jobs name as their checkpoint, where there is one.
    """

    def __init__(
        self,
        held: MutableMapping[str, Mapping[str, Tensor]],
        before: Callable[[], object],
        options: RunOptions,
        progress: Progress | None = None,
        recipe: RecipeWeights | None = None,
    ) -> None:
        self._held = held
        self._before = before
        self._options = options
        self._progress = progress or Progress()
        self._recipe = recipe
        self._recipes: dict[Of, Recipe | None] = {}
        self._of: Of | None = None

    def whole(self, job: Job) -> bool:
        """Whether a file holds all that acts in the picture: not so of LoRAs that act in some steps only."""
        if self._recipe is not None:
            return not job.request.adapters
        return not _acting(job.request) or self._recipe_of(job.request) is not None

    def drawn(self, job: Job) -> ImageRequest:
        """The request that draws the job with the model that its recipe makes.

        Where a file cannot hold what acts in the picture, with the LoRAs beside the model.
        """
        request = job.request
        if self._recipe is not None:
            return replace(request, checkpoint=self._recipe.evaluate(dict(job.variables)))
        recipe = self._recipe_of(request)
        if recipe is None:
            return request
        name = "+".join(Path(file).stem for file in recipe.inputs.values())
        if self._of != (of := _of(request)):
            self._of = None
            self._held.clear()
            self._before()
            self._progress.message(f"model: {recipe.texts[MERGED]}")
            self._held[name] = evaluate_weights(
                recipe, MERGED, options=self._options, progress=self._progress
            )
            self._of = of
        return replace(request, checkpoint=name, adapters=())

    def _recipe_of(self, request: ImageRequest) -> Recipe | None:
        """None where there is nothing to merge, or it would be refused: a LoRA of text encoders that the
        file lacks, a model that is in memory only. The person is told why, once.
        """
        if (of := _of(request)) not in self._recipes:
            self._recipes[of] = self._checked(model_recipe(request))
        return self._recipes[of]

    def _checked(self, recipe: Recipe | None) -> Recipe | None:
        if recipe is None or not all(path.exists() for path in recipe.inputs.values()):
            return None
        try:
            with open_session(recipe, self._options):
                return recipe
        except InputError as error:
            self._progress.message(f"no model can be made of the LoRAs: {error.what}")
            return None


def _of(request: ImageRequest) -> Of:
    return request.checkpoint, request.adapters


def _acting(request: ImageRequest) -> bool:
    return any(use.te or use.unet for use in request.adapters)
