"""What a search is: its options, its candidates and scenes, and what can be told before it is rendered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from loralathe.errors import InputError, Value, option
from loralathe.rendering.prompts import lift_tags
from loralathe.rendering.request import ImageRequest
from loralathe.studies.cell_builder import CellBuilder, pull_tags
from loralathe.studies.context import Context
from loralathe.studies.plan import Identify, file_identity
from loralathe.studies.study_file import Identity, foreign_folder_note, identity_of
from loralathe.studies.tuning.budget import Budget
from loralathe.studies.tuning.choose import WITHIN
from loralathe.studies.tuning.final import Models
from loralathe.studies.tuning.goals import Goal
from loralathe.studies.tuning.proposals import SamplerName, need_optuna
from loralathe.studies.tuning.space import AS_GIVEN, Scene, Space, make_scenes, read_space

DEFAULT_CONTEXT = Context()
UNCHECKED = 2
"""Pictures at the end without a check: of the recommended candidate, and of what was given."""


@dataclass(frozen=True)
class TuneOptions:
    """Everything about a search.

    request: what all pictures have in common; its prompt holds the trigger words.
    also: other prompts with them; scenes take turns.
    sweeps: axes `NAME = VALUES`.  goals: see `goals_of`.  triggers: words that the plain prompts lack.
    first: seeds of a new candidate; most: of the best ones; check: fresh seeds for the end.
    within: what of the first goal may be given up for the others, a share (`choose.py`).
    error: chance of dropping a candidate that no rival beats.
    bare: checkpoint of the base alone, where `request` names a recipe's result.
    reuse: folders of other studies, whose pictures are taken.
    models: what makes the models of the last pictures; None where another program draws.
    opening: how the model was opened, for commands that draw the same.
    """

    request: ImageRequest
    folder: Path
    sweeps: tuple[str, ...]
    goals: tuple[Goal, ...]
    budget: Budget
    also: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    first: int = 2
    most: int = 48
    check: int = 8
    within: float = WITHIN
    error: float = 0.05
    sampler: SamplerName = "tpe"
    context: Context = DEFAULT_CONTEXT
    bare: str = ""
    reuse: tuple[Path, ...] = ()
    models: Models | None = None
    opening: Mapping[str, Value] = field(default_factory=dict)
    title: str = ""
    embed: bool = False
    force: bool = False
    identify: Identify = file_identity


def space_of(options: TuneOptions) -> Space:
    """The candidates. Raises InputError for mistakes in the axes."""
    base = CellBuilder(options.request)
    space = read_space(options.sweeps, base, options.context, cache(options.identify), options.bare)
    # Each value by itself: the last one must not fail after an hour.
    for axis, values in enumerate(space.axes):
        for at in range(len(values.values)):
            point = tuple(at if i == axis else 0 for i in range(len(space.axes)))
            job = space.job(point, options.request.prompt, 0)
            if options.context.recipe is not None:
                options.context.recipe.check(dict(job.variables))
    return space


def scenes_of(options: TuneOptions) -> tuple[Scene, ...]:
    """`most` scenes of the race, and `check` fresh ones behind them."""
    prompts = (options.request.prompt, *options.also)
    return make_scenes(prompts, options.triggers, options.request.seed, options.most + options.check)


@dataclass(frozen=True)
class TunePlan:
    """What a search would do: its candidates, pictures of one in a scene, those that the check takes."""

    space: Space
    scenes: tuple[Scene, ...]
    pictures_of_scene: int
    kept: int
    notes: tuple[str, ...]

    @property
    def grid_pictures(self) -> int:
        """What all candidates would take on as few seeds as a new one begins with."""
        return self.space.size * self.pictures_of_scene


def plan_tune(options: TuneOptions) -> TunePlan:
    """The plan without rendering. Raises InputError for every mistake that can be told now."""
    need_optuna()
    if options.first < 2 or options.most < options.first:
        raise InputError(
            "a candidate begins on 2 seeds at least, and none gets fewer later",
            where=f"{option('first_seeds', options.first)}, {option('most_seeds', options.most)}",
        )
    space, scenes = space_of(options), scenes_of(options)
    plain = any(goal.plain for goal in options.goals)
    of_scene = 2 if plain else 1
    kept = options.check * (2 * of_scene + plain) or UNCHECKED * (options.models is not None)
    limit = options.budget.pictures
    least = kept + 2 * options.first * of_scene + (options.first if plain else 0)
    if limit is not None and limit < least:
        raise InputError(
            f"{limit} pictures are too few for a search",
            where=f"two candidates and the check take {least}",
            fix=f"give {option('budget', f'{4 * least} pictures')}, or fewer {option('check_seeds')}",
        )
    notes = [*foreign_folder_note(options.folder, study_identity(options, space), force=options.force)]
    notes += [str(issue) for issue in lift_tags(options.request.prompt).issues]
    notes += [note for axis in space.axes for note in axis.notes]
    return TunePlan(space, scenes, of_scene, kept, tuple(notes))


def study_identity(options: TuneOptions, space: Space) -> Identity:
    """What the folder remembers of the search."""
    return identity_of(
        "tune",
        options.folder,
        options.request,
        [pull_tags(space.base, space.context).request],
        {axis.title: [value.label for value in axis.values] for axis in space.axes},
        **options.context.facts,
    )


def search_name(options: TuneOptions, plan: TunePlan) -> str:
    """Other axes, objectives, prompts or files are another search, whose numbers mean something else."""
    job = plan.space.job(AS_GIVEN, options.request.prompt, options.request.seed)
    facts = [
        job.key,
        *(one for scene in plan.scenes[: len(options.also) + 1] for one in (scene.prompt, scene.plain)),
        *([axis.title, [value.label for value in axis.values]] for axis in plan.space.axes),
        *((goal.name, goal.up) for goal in options.goals),
        options.first,
        options.sampler,
    ]
    text = json.dumps(facts, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
