"""Pictures, grids and block studies of an open model, to be looked at before they are rendered."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from loralathe.api.opened import Opened

if TYPE_CHECKING:
    from loralathe.rendering.command import RenderOptions
    from loralathe.studies import BlockReport, BlocksOptions, GridOptions, GridPlan, GridResult


@dataclass(frozen=True)
class PicturePlan:
    """A prompt without its tags, all adapters as they are typed, and what could not be read."""

    prompt: str
    adapters: tuple[str, ...]
    issues: tuple[str, ...]


@dataclass(frozen=True)
class PreparedPictures:
    """Pictures of one prompt, to be rendered."""

    model: Opened
    options: RenderOptions

    def plan(self) -> PicturePlan:
        """What its prompt says; nothing is loaded."""
        from loralathe.rendering.prompts import lift_tags
        from loralathe.strengths import argument_text

        request = self.options.request
        tagged = lift_tags(request.prompt)
        uses = tuple(argument_text(use) for use in (*request.adapters, *tagged.adapters))
        return PicturePlan(tagged.prompt.strip(), uses, tuple(self.model.remarks([request])))

    def run(self) -> list[Path]:
        """The files, in order of seed."""
        from loralathe.rendering.command import render

        model, options = self.model, self.options
        renderer = model.renderer
        if (recipe := model.recipe) is not None:
            made = recipe.evaluate(recipe.variables)
            options = replace(options, request=replace(options.request, checkpoint=made))
        return render(renderer, options, model.options.progress)


@dataclass(frozen=True)
class PreparedGrid:
    """A grid to be rendered."""

    model: Opened
    options: GridOptions

    def plan(self) -> GridPlan:
        """Its axes and cells; nothing is written, seeds that it draws are not kept."""
        from loralathe.studies import plan_of

        with TemporaryDirectory() as folder:
            seeds = self.options.folder / "seeds.json"
            if seeds.is_file():
                shutil.copy(seeds, folder)
            plan = plan_of(replace(self.options, folder=Path(folder)))
        self._check_cells(plan)
        return plan

    def _check_cells(self, plan: GridPlan) -> None:
        """InputError for cells that cannot be rendered, such as those of a text that is a placeholder."""
        from loralathe.studies import placeholders_explained

        with placeholders_explained(plan.axes):
            self.model.check_cells([job.request for job in plan.pictures])

    def notes(self, plan: GridPlan) -> list[str]:
        """What a run tells before the first picture: about axes, prompts and words."""
        from loralathe.studies import notes_of

        notes = [*notes_of(self.options, plan), *self.model.remarks([job.request for job in plan.jobs])]
        return list(dict.fromkeys(notes))

    def count_finished(self, plan: GridPlan) -> int:
        """How many of its pictures are in the folder already."""
        from loralathe.studies import CellStore

        store = CellStore(self.options.folder)
        return sum(store.has(job.key) for job in plan.pictures)

    def run(self) -> GridResult:
        """Make the grid. When it is cancelled, finished cells stay, and the same call goes on from there."""
        from loralathe.studies import plan_of, run_grid

        plan = plan_of(self.options)  # mistakes in the axes are told before models are looked at
        self._check_cells(plan)
        return run_grid(self.options, self.model.renderer, self.model.options.progress)


@dataclass(frozen=True)
class BlocksPlan:
    """What an analysis would render: the blocks, those that the family lacks, the two weights, how much."""

    blocks: tuple[str, ...]
    lacking: tuple[str, ...]
    examined: float
    others: float
    first: int
    pictures: int
    issues: tuple[str, ...]


@dataclass(frozen=True)
class PreparedBlocks:
    """A block analysis to be rendered."""

    model: Opened
    options: BlocksOptions
    random_seed: bool

    def plan(self) -> BlocksPlan:
        """Which blocks, how many pictures; with `coarse` those of the first round."""
        from loralathe.studies.analyzer.analyze import begin_study, identity
        from loralathe.studies.analyzer.options import first_cut, read_groups, read_range
        from loralathe.studies.study_file import foreign_folder_note

        study = begin_study(self.options)  # its mistakes are told before anything is rendered
        groups, lacking = read_groups(self.options)
        foreign = foreign_folder_note(self.options.folder, identity(study, groups), force=self.options.force)
        issues = (*foreign, *self.model.remarks([study.request]))
        examined, others = read_range(self.options.range)
        first = len(first_cut(groups)) if self.options.coarse else len(groups)
        names = tuple(group.name for group in groups)
        pictures = (first + 1) * self.options.seeds
        return BlocksPlan(names, lacking, examined, others, first, pictures, issues)

    def run(self) -> BlockReport:
        """Make the analysis. When it is cancelled, finished pictures stay, and the same call goes on."""
        from loralathe.studies import SeedBook, analyze_blocks

        options = self.options
        if self.random_seed:
            # Drawn once for the folder, so that the same call goes on with the same pictures.
            seed = SeedBook(options.folder).next()
            options = replace(options, request=replace(options.request, seed=seed))
        return analyze_blocks(options, self.model.renderer, self.model.options.progress)
