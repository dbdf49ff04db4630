"""Search instead of grids: strengths, blocks or a recipe's variables that look best, with few pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loralathe.api.arguments import File, PathLike
from loralathe.api.judging import judging_of, within_of
from loralathe.api.measuring import bound_to
from loralathe.api.model import OpenModel
from loralathe.api.model_options import ModelKeywords, ModelOptions, parted, repeated
from loralathe.api.picture_options import RANDOM_SEED, Picture, PictureKeywords
from loralathe.api.pictures import open_model

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from loralathe.likeness import Card
    from loralathe.strengths import AdapterUse
    from loralathe.studies import Scorer
    from loralathe.studies.tuning.options import TuneOptions, TunePlan
    from loralathe.studies.tuning.report import TuneReport

__all__ = ["PreparedTune", "TuneChoices", "prepare_tune", "tune"]


@dataclass(frozen=True)
class TuneChoices:
    """What a search is.

    sweep: axes as a grid has them, "hina unet = 0..1.2", "hina IN04-IN08 = 0..1 [5]", "M = -0.7..0.7"; a
    range
        without a step gets a fine one. The search begins at the first value of each.
    budget: "200 pictures" of the study, or "30 minutes" of this run.
    card: an identity card, or its file: it tells likeness and bleed.
    scorers, photo, face_box: as for `grid`.  likeness: the score that tells it where there is no card.
    trigger: the words that call the person; pictures without them show what bleeds. Default: the card's.
    goal: "likeness", "bleed", "prompt", "diversity", a score's name, or "-NAME" to lower it, the one that
        comes first at the beginning. Default: the first three, as far as they can be measured.
    within: points of the first goal that may be given up for the others: of those that are so near to the
        best, the one that is best in the others is recommended.
    weigh: goal → what a point of it counts beside one of another goal; 1, and 0.5 of diversity, if it is not
        named. The first goal has no weight.
    also: other prompts with the trigger words; pictures take turns between all prompts.
    first_seeds, most_seeds: of a new candidate, and of the best ones;  check_seeds: fresh ones for the end;
        default: 8, fewer for a budget of less than 160 pictures.
    error: chance of dropping a candidate that no other one beats.
    search: Optuna's sampler, "tpe" or "nsga2".  reuse: folders of grids whose pictures are taken.
    output, title, embed, force: as for `grid`.
    """

    sweep: Sequence[str] = ()
    budget: str | int = "200 pictures"
    card: PathLike | Card | None = None
    scorers: Sequence[str | Scorer] = ()
    photo: Sequence[PathLike] = ()
    face_box: str | None = None
    likeness: str = ""
    trigger: str | Sequence[str] = ()
    goal: Sequence[str] = ()
    within: float = 2.0
    weigh: Mapping[str, float] = field(default_factory=dict)
    also: Sequence[str] = ()
    first_seeds: int = 2
    most_seeds: int = 48
    check_seeds: int | None = None
    error: float = 0.05
    search: Literal["tpe", "nsga2"] = "tpe"
    reuse: Sequence[PathLike] = ()
    output: PathLike | None = None
    title: str = ""
    embed: bool = False
    force: bool = False


class TuneKeywords(PictureKeywords, total=False):
    """The fields of `TuneChoices` and of `Picture`."""

    sweep: Sequence[str]
    budget: str | int
    card: PathLike | Card | None
    scorers: Sequence[str | Scorer]
    photo: Sequence[PathLike]
    face_box: str | None
    likeness: str
    trigger: str | Sequence[str]
    goal: Sequence[str]
    within: float
    weigh: Mapping[str, float]
    also: Sequence[str]
    first_seeds: int
    most_seeds: int
    check_seeds: int | None
    error: float
    search: Literal["tpe", "nsga2"]
    reuse: Sequence[PathLike]
    output: PathLike | None
    title: str
    embed: bool
    force: bool


class OpenTuneKeywords(TuneKeywords, ModelKeywords, total=False):
    """The same of a model that is opened for it."""


def tune(
    checkpoint: File, *adapters: PathLike | AdapterUse, **keywords: Unpack[OpenTuneKeywords]
) -> TuneReport:
    """The values of the axes that look best, found by a search; the files are in its folder.

    sweep: what may change;  card or scorers: how pictures are judged;  budget: how many there may be.
    Nothing is written into a model. Finished pictures stay: the same call goes on where it stopped.
    The rest: see `TuneChoices`, and as for `render`.
    """
    opening, rest = parted(keywords, ModelOptions)
    with open_model(checkpoint, **opening) as model:
        return prepare_tune(model, *adapters, **rest).run()


def prepare_tune(
    model: OpenModel, *adapters: PathLike | AdapterUse, **keywords: Unpack[TuneKeywords]
) -> PreparedTune:
    """A search in a model that is open, or in a recipe's result; nothing is loaded before its `run`."""
    from loralathe.studies.tuning.budget import check_seeds, read_budget
    from loralathe.studies.tuning.options import TuneOptions

    picture, rest = parted(keywords, Picture)
    wanted, choices = Picture(**picture), TuneChoices(**rest)
    request = model.request_of(adapters, wanted)
    model.check_uses(request)
    judging, budget = judging_of(choices), read_budget(choices.budget)
    options = TuneOptions(
        request,
        model.folder_of(request, "-tune") if choices.output is None else Path(choices.output),
        sweeps=tuple(choices.sweep),
        goals=judging.goals,
        budget=budget,
        also=tuple(choices.also),
        triggers=judging.triggers,
        first=choices.first_seeds,
        most=choices.most_seeds,
        check=check_seeds(budget) if choices.check_seeds is None else choices.check_seeds,
        within=within_of(choices.within),
        error=choices.error,
        sampler=choices.search,
        context=model.context_of(),
        bare="" if model.recipe is None else str(model.recipe.first_model),
        reuse=tuple(map(Path, choices.reuse)),
        models=model.models(),
        opening=repeated(model.options),
        title=choices.title,
        embed=choices.embed,
        force=choices.force,
    )
    return PreparedTune(model, options, judging.card, random_seed=wanted.seed == RANDOM_SEED)


@dataclass(frozen=True)
class PreparedTune:
    """A search to be done. card: the identity card's file and its SHA-256."""

    model: OpenModel
    options: TuneOptions
    card: tuple[str, str]
    random_seed: bool

    def plan(self) -> TunePlan:
        """Its candidates, and how many pictures a grid of them would take; nothing is written."""
        from loralathe.studies.tuning.options import plan_tune

        plan = plan_tune(self.options)
        first = tuple(0 for _ in plan.space.axes)
        jobs = [
            plan.space.job(point, scene.prompt, scene.seed) for point in ((), first) for scene in plan.scenes
        ]
        self.model.check_cells([job.request for job in jobs])
        return replace(plan, notes=(*plan.notes, *self.model.remarks([job.request for job in jobs])))

    def run(self) -> TuneReport:
        """Search. When it is cancelled, pictures and trials stay, and the same call goes on."""
        from loralathe.studies import SeedBook
        from loralathe.studies.tuning.search import run_tune

        options = self.options
        self.plan()  # mistakes are told before models are looked at
        if self.random_seed:
            # Drawn once for the folder, so that the same call goes on with the same pictures.
            seed = SeedBook(options.folder).next()
            options = replace(options, request=replace(options.request, seed=seed))
        return self._with_numbers(run_tune(options, self.model.renderer, self.model.options.progress))

    def _with_numbers(self, report: TuneReport) -> TuneReport:
        """The report with numbers that `measured=` can put into what is made of its recommendation."""
        from loralathe.studies.tuning.report import RECOMMENDED, add_measured, measured_best

        options, model = self.options, self.model
        found = measured_best(report, self.card, (options.request.prompt, *options.also))
        if found is None:
            return report
        step, progress = model.recipe.step if model.recipe else None, model.options.progress
        bound = bound_to(found, options.folder / RECOMMENDED, step, model.run_options(), progress)
        return report if bound is None else add_measured(options.folder, report, bound)
