"""A recipe in memory: studies sweep its variables, and no checkpoint is written.

`RecipeWeights` is the `RecipeSource` of a plan; the tensors that it makes lie in `held`, which is what a
renderer takes as its `weights`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.adapters import ModelFolders, shows_adapter
from loralathe.engine import RunOptions, WeightsOutput, evaluate_weights, open_session
from loralathe.errors import InputError, did_you_mean, option
from loralathe.families import Family
from loralathe.language import Recipe, Save, read_recipe
from loralathe.progress import Progress
from loralathe.strengths import show_number
from loralathe.studies.plan import file_identity
from loralathe.tensorfiles import read_header, read_text

if TYPE_CHECKING:
    from torch import Tensor


def _nothing() -> None:
    return


class RecipeWeights:
    """One step of a recipe, evaluated for one set of values at a time.

    held: at most one entry, the name that `evaluate` returned last → its tensors. They are those of the file
    that `lathe run` would save, in the dtype that [save] gives the step.
    """

    def __init__(
        self,
        path: Path,
        step: str | None = None,
        variables: Mapping[str, float] | None = None,
        *,
        folders: ModelFolders | None = None,
        options: RunOptions | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Read and plan the recipe: everything that headers can tell raises InputError here.

        step: the step to render; None for the only checkpoint that the recipe saves.
        variables: values that win over the recipe's own.  folders: where inputs are found by name.
        """
        self._path = path
        self._recipe = read_recipe(path, folders).with_variables(_numbers(variables or {}))
        self._options = options or RunOptions()
        self._progress = progress or Progress()
        self._save = _save_of(self._recipe, step, self._options)
        self.family, self.metadata = _of_model(self._recipe, self._save, self._options)
        self.held: dict[str, Mapping[str, Tensor]] = {}
        self._checked: set[tuple[tuple[str, float], ...]] = set()
        self.before: Callable[[], object] = _nothing
        """Called before new weights are made, so that a renderer can let go of the old ones."""

    @property
    def step(self) -> str:
        return self._save.step

    @property
    def file(self) -> str:
        return str(self._path)

    @property
    def variables(self) -> Mapping[str, float]:
        return self._recipe.variables

    @property
    def first_model(self) -> Path:
        """The first checkpoint among its inputs."""
        files = self._recipe.inputs.values()
        return next(file for file in files if not shows_adapter(read_header(file).tensors))

    @property
    def identity(self) -> str:
        """A hash of the recipe's text, the step, the block lists, and name, size and date of every input."""
        parts = [
            read_text(self._path, "recipe"),
            self.step,
            repr(sorted(self._options.presets.items())),
            repr((self._options.missing_blocks, self._options.allow_unmatched)),
            *(file_identity(str(path)) for path in self._recipe.inputs.values()),
            *([file_identity(str(self._save.vae))] if self._save.vae else []),
        ]
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def check(self, variables: Mapping[str, float]) -> None:
        """Plan the step with these values; nothing is read but headers."""
        values = _numbers(variables)
        key = tuple(sorted(values.items()))
        if key not in self._checked:
            recipe = replace(self._recipe.with_variables(values), saves=(self._save,))
            with open_session(recipe, self._options):
                self._checked.add(key)

    def evaluate(self, variables: Mapping[str, float]) -> str:
        """The weights for these values, held until the next call; the name that stands for them."""
        shown = " ".join(f"{name}={show_number(value)}" for name, value in sorted(variables.items()))
        name = f"{self._path.name} {self.step} {shown}".rstrip()
        if name not in self.held:
            self.held.clear()
            self.before()
            self.held[name] = evaluate_weights(
                self._recipe.with_variables(_numbers(variables)),
                self.step,
                dtype=self._save.dtype,
                vae=self._save.vae,
                options=self._options,
                progress=self._progress,
            )
        return name


def _numbers(values: Mapping[str, float]) -> dict[str, float]:
    """Whole numbers as floats, the only kind that formulas know."""
    return {name: float(value) for name, value in values.items()}


def _save_of(recipe: Recipe, step: str | None, options: RunOptions) -> Save:
    """How the step is saved; a step that is not saved keeps each tensor's dtype."""
    if step is not None:
        if step not in recipe.steps:
            raise InputError(
                f"the recipe has no step '{step}'",
                where=recipe.where,
                fix=did_you_mean(step, recipe.steps) or f"steps are: {', '.join(recipe.steps)}",
            )
        known = {save.step: save for save in recipe.saves}
        return known.get(step, Save(step, Path(step)))
    saves = recipe.saves or tuple(Save(name, Path(name)) for name in recipe.steps)
    with open_session(replace(recipe, saves=saves), options) as session:
        models = [output.save for output in session.plan.outputs if isinstance(output, WeightsOutput)]
    if len(models) == 1:
        return models[0]
    names = [save.step for save in models] or list(recipe.steps)
    raise InputError(
        "several steps of the recipe are models" if models else "no step of the recipe is a model",
        where=recipe.where,
        fix=f"give {' or '.join(option('step', name) for name in names)}",
    )


def _of_model(recipe: Recipe, save: Save, options: RunOptions) -> tuple[Family, Mapping[str, str]]:
    """The family, and what a saved file would say of itself: by default what the first checkpoint says."""
    with open_session(replace(recipe, saves=(save,)), options) as session:
        output = session.plan.outputs[0]
        if not isinstance(output, WeightsOutput):
            raise InputError(f"step '{save.step}' is an adapter, not a model to render", where=recipe.where)
        family, metadata = session.sources.family, {**output.metadata, **save.metadata}
    if family is None:
        raise InputError("the recipe's models are of no family that can be rendered", where=recipe.where)
    return family, metadata
