"""A model that is opened once: its renders, grids and block studies share the loaded networks."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from loralathe.adapters import ModelFolders
from loralathe.api.arguments import PathLike, folders_of, harmless
from loralathe.api.picture_inputs import Lists, adapters_of, check_examined, check_family
from loralathe.api.picture_options import (
    RANDOM_SEED,
    BlocksChoices,
    BlocksKeywords,
    GridChoices,
    GridKeywords,
    ModelOptions,
    Picture,
    RenderKeywords,
    card_file,
    card_of,
    parted,
    position,
    scorers_of,
)
from loralathe.api.renderers import PictureMaker, first_device, make_renderer, server_of
from loralathe.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor
    from typing_extensions import Unpack

    from loralathe.engine import RunOptions
    from loralathe.families import Family, Usual
    from loralathe.rendering import ImageRequest
    from loralathe.rendering.command import RenderOptions
    from loralathe.rendering.elsewhere.address import Server
    from loralathe.rendering.model_cache import WeightsInMemory
    from loralathe.strengths import AdapterUse
    from loralathe.studies import (
        BlockReport,
        BlocksOptions,
        Context,
        GridOptions,
        GridPlan,
        GridResult,
        RecipeWeights,
    )
    from loralathe.studies.models import MadeModels


class OpenModel:
    """A checkpoint, or a step of a recipe, that many pictures share. Use it in a `with` block, or close it.

    Networks are loaded for the first picture and stay until `close`, and so do adapters and encoded texts.
    Each `prepare_…` checks names, numbers, adapters and tags; nothing is loaded before its `run`.
    """

    def __init__(
        self,
        name: str,
        family: Family,
        options: ModelOptions,
        lists: Lists,
        *,
        weights: WeightsInMemory | None = None,
        recipe: RecipeWeights | None = None,
        metadata: Mapping[str, str] | None = None,
        usual: Usual | None = None,
        side: int | None = None,
    ) -> None:
        self.name = name
        self.family = family
        self.options = options
        self.lists = lists
        self.recipe = recipe
        self.metadata = metadata or {}
        self._usual = usual
        self._side = side
        self._made: dict[str, Mapping[str, Tensor]] = {}
        self._weights = self._made if weights is None else weights
        self._renderer: PictureMaker | None = None

    def __enter__(self) -> OpenModel:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the networks; a later picture loads them again."""
        if self._renderer is not None:
            self._renderer.close()

    @property
    def renderer(self) -> PictureMaker:
        if self._renderer is None:
            self._renderer = make_renderer(self.options, self.lists, lambda: self.dtype, self._weights)
            if self.recipe is not None:
                self.recipe.before = self._renderer.forget
        return self._renderer

    @property
    def _server(self) -> Server | None:
        """The program that draws in place of this one; of several, which are alike, the first."""
        return server_of(self.options)

    @property
    def dtype(self) -> Literal["fp32", "fp16", "bf16"]:
        """What it is computed in."""
        from loralathe.rendering.families import how_drawn
        from loralathe.rendering.machine import planned_device, usual_dtype

        half = how_drawn(self.family, self.name).half
        return self.options.dtype or usual_dtype(planned_device(first_device(self.options)), half)

    @property
    def usual(self) -> Usual:
        """What its pictures are made with where nothing is said."""
        from loralathe.rendering.families import how_drawn

        return self._usual or next(iter(how_drawn(self.family, self.name).variants.values()))

    def render(self, *adapters: PathLike | AdapterUse, **keywords: Unpack[RenderKeywords]) -> list[Path]:
        """See `loralathe.render`."""
        return self.prepare_render(*adapters, **keywords).run()

    def prepare_render(
        self, *adapters: PathLike | AdapterUse, **keywords: Unpack[RenderKeywords]
    ) -> PreparedPictures:
        from loralathe.rendering.command import RenderOptions

        picture, rest = parted(keywords, Picture)
        wanted = Picture(**picture)
        request = self.request_of(adapters, wanted)
        self.check_uses(request)
        output = rest.pop("output", None)
        target = self.folder_of(request) if output is None else Path(output)
        return PreparedPictures(self, RenderOptions(request, target, wanted.seed, **rest))

    def grid(self, *adapters: PathLike | AdapterUse, **keywords: Unpack[GridKeywords]) -> GridResult:
        """See `loralathe.grid`."""
        return self.prepare_grid(*adapters, **keywords).run()

    def prepare_grid(
        self, *adapters: PathLike | AdapterUse, **keywords: Unpack[GridKeywords]
    ) -> PreparedGrid:
        from loralathe.studies import GridOptions
        from loralathe.studies.drawing.grid import GridLook

        picture, rest = parted(keywords, Picture)
        wanted, choices = Picture(**picture), GridChoices(**rest)
        request = self.request_of(adapters, wanted)
        options = GridOptions(
            request,
            self.folder_of(request, "-grid") if choices.output is None else Path(choices.output),
            x=choices.x,
            y=choices.y,
            z=choices.z,
            context=self.context_of(choices),
            max_cells=choices.max_cells,
            vary_seed=choices.seed_axes,
            random_seed=wanted.seed == RANDOM_SEED,
            redo=tuple(position(one, "redo") for one in choices.redo),
            reference=position(choices.reference, "reference"),
            scorers=scorers_of(choices),
            card=card_of(choices.card),
            card_file=card_file(choices.card),
            bleed=choices.bleed,
            look=GridLook(legend=choices.legend, margin=choices.margin),
            sub_grids=choices.sub_grids,
            title=choices.title,
            embed=choices.embed,
            force=choices.force,
        )
        return PreparedGrid(self, options)

    def blocks(self, *adapters: PathLike | AdapterUse, **keywords: Unpack[BlocksKeywords]) -> BlockReport:
        """See `loralathe.blocks`."""
        return self.prepare_blocks(*adapters, **keywords).run()

    def prepare_blocks(
        self, *adapters: PathLike | AdapterUse, **keywords: Unpack[BlocksKeywords]
    ) -> PreparedBlocks:
        from loralathe.rendering.prompts import lift_tags
        from loralathe.studies import BlocksOptions
        from loralathe.studies.analyzer import fitting_list

        if self.recipe is not None:
            raise InputError(
                "blocks are examined on a file, not on what a recipe makes in memory",
                where=self.recipe.file,
                fix="run the recipe, and open the file that it saves",
            )
        picture, rest = parted(keywords, Picture)
        wanted, choices = Picture(**picture), BlocksChoices(**rest)
        request = self.request_of(adapters, wanted)
        files = [use.path for use in self._found((*request.adapters, *lift_tags(request.prompt).adapters))]
        check_examined(files, request, choices.adapter)
        encoders = tuple(name.upper() for name in self.family.encoder_blocks)
        options = BlocksOptions(
            request,
            self.folder_of(request, "-blocks") if choices.output is None else Path(choices.output),
            adapter=choices.adapter,
            range=choices.range,
            blocks=choices.blocks or fitting_list(files, self.family),
            lists=self.lists.blocks,
            split_encoders=encoders if choices.te else (),
            threshold=choices.threshold,
            background=choices.color,
            swap=choices.swap,
            seeds=choices.seeds,
            coarse=choices.coarse,
            coarse_floor=choices.coarse_floor,
            card=card_of(choices.card),
            context=self.context_of(),
            title=choices.title,
            embed=choices.embed,
            force=choices.force,
        )
        return PreparedBlocks(self, options, random_seed=wanted.seed == RANDOM_SEED)

    def request_of(self, adapters: Sequence[PathLike | AdapterUse], picture: Picture) -> ImageRequest:
        """What all pictures have in common; a random seed stands as 0. Checks names, numbers and families."""
        from loralathe.rendering import ImageRequest
        from loralathe.rendering.embedding_names import with_embeddings
        from loralathe.rendering.samplers import canonical_names
        from loralathe.rendering.suitable import check_suits
        from loralathe.studies.context import files_by_name

        uses = adapters_of(adapters, self.options.folders)
        for use in () if self.options.allow_unmatched else uses:
            check_family(use.file, self.family)
        usual = self.usual
        sampler, schedule = canonical_names(picture.sampler or usual.sampler, picture.schedule)
        width, height = picture.sides(self._usual_size())
        prompt, negative = picture.texts()
        request = ImageRequest(
            checkpoint=self.name,
            vae=None if picture.vae is None else str(picture.vae),
            prompt=prompt,
            negative=negative,
            seed=0 if picture.seed == RANDOM_SEED else picture.seed,
            steps=usual.steps if picture.steps is None else picture.steps,
            cfg=usual.cfg if picture.cfg is None else picture.cfg,
            sampler=sampler,
            schedule=schedule,
            width=width,
            height=height,
            clip_skip=picture.clip_skip,
            adapters=uses,
            hires=picture.second_pass(),
            guidance=picture.guidance,
        )
        if self._server is None:
            check_suits(self.family, request)
        return with_embeddings(request, files_by_name(folders_of(self.options.embeddings)))

    def _usual_size(self) -> tuple[int, int]:
        """What the model says of itself, else the family's."""
        from loralathe.rendering.families import how_drawn, said_size

        side = self._side or how_drawn(self.family, self.name).side
        return said_size(self.metadata) or (side, side)

    def remarks(self, requests: Sequence[ImageRequest]) -> list[str]:
        """What a run tells of the prompts before it loads anything: what is odd, words without meaning."""
        from loralathe.rendering.prepare import prepare
        from loralathe.rendering.vocabulary import remarks_on

        if self.recipe is not None:  # its result is not there yet, and has the words of what it starts from
            first = str(self.recipe.first_model)
            requests = [replace(request, checkpoint=first) for request in requests]
        folders = ModelFolders(self.options.folders)
        prepared = [prepare(index, request, folders) for index, request in enumerate(requests)]
        return remarks_on(prepared, self._weights)

    def check_cells(self, requests: Sequence[ImageRequest]) -> None:
        """InputError for a checkpoint or an adapter of a cell that is nowhere, or is of another kind."""
        from loralathe.rendering.elsewhere.program import look_at
        from loralathe.rendering.families import family_of

        self._found(use for request in requests for use in request.adapters)
        for file in dict.fromkeys(request.checkpoint for request in requests):
            if file != self.name and self._server is not None:
                look_at(file)
            elif file != self.name:
                family_of(file)

    def _found(self, uses: Iterable[AdapterUse]) -> list[AdapterUse]:
        """Each with the path of its file. InputError for one that is nowhere, or is for another family."""
        folders = ModelFolders(self.options.folders)
        found = [replace(use, file=str(folders.find(use.file))) for use in uses]
        for file in () if self.options.allow_unmatched else dict.fromkeys(use.file for use in found):
            check_family(file, self.family)
        return found

    def check_uses(self, request: ImageRequest) -> None:
        """InputError for a tag whose adapter is nowhere, is for another family, or is given twice, and for
        block weights and element rules that the family cannot have.

        For prompts that are rendered as they stand: in a grid's, search and replace may fill the name in.
        """
        from loralathe.rendering.prompts import lift_tags
        from loralathe.strengths import require_counted_once, resolve, seeded_tokens

        tagged = self._found(lift_tags(request.prompt).adapters)
        require_counted_once(request.adapters, tagged)
        lists = self.lists
        for use in (*request.adapters, *tagged):
            tokens = seeded_tokens(request.seed, use.x)
            resolve(
                use, self.family, block_presets=lists.blocks, element_presets=lists.elements, tokens=tokens
            )

    def folder_of(self, request: ImageRequest, ending: str = "") -> Path:
        """`baseA+hina-grid`: a folder in the current one, named after the inputs."""
        from loralathe.rendering.prompts import lift_tags

        recipe = self.recipe
        name = Path(self.name).stem if recipe is None else f"{Path(recipe.file).stem}-{recipe.step}"
        uses = (*request.adapters, *lift_tags(request.prompt).adapters)
        names = [name, *dict.fromkeys(Path(use.file).stem for use in uses)]
        clean = harmless("+".join(names)) or "pictures"
        return Path(clean[:80] + ending)

    def context_of(self, choices: GridChoices | None = None) -> Context:
        from loralathe.studies import gather_context

        return gather_context(
            self.family,
            lora_dirs=self.options.folders,
            checkpoint_dirs=self.options.checkpoint_folders,
            vae_dirs=folders_of(choices.vae_dir) if choices else (),
            embedding_dirs=folders_of(self.options.embeddings),
            presets=self.lists.blocks,
            element_presets=self.lists.elements,
            recipe=self.recipe,
            drawn_by=self._server.program if self._server else "",
        )

    def models(self) -> MadeModels | None:
        """What makes the models of candidates, as their recipes would; None where another program draws."""
        from loralathe.studies.models import MadeModels

        if self._server is not None:
            return None
        forget = self.renderer.forget
        return MadeModels(self._made, forget, self.run_options(), self.options.progress, self.recipe)

    def run_options(self) -> RunOptions:
        """How recipes of this model's block lists run."""
        from loralathe.engine import RunOptions

        return RunOptions(
            presets=self.lists.blocks,
            missing_blocks=self.options.missing_blocks,
            allow_unmatched=self.options.allow_unmatched,
        )


@dataclass(frozen=True)
class PicturePlan:
    """A prompt without its tags, all adapters as they are typed, and what could not be read."""

    prompt: str
    adapters: tuple[str, ...]
    issues: tuple[str, ...]


@dataclass(frozen=True)
class PreparedPictures:
    """Pictures of one prompt, to be rendered."""

    model: OpenModel
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

    model: OpenModel
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

    model: OpenModel
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
