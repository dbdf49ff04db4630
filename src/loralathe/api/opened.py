"""A model that is opened once, and what is asked of it: requests for pictures, made and checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loralathe.adapters import ModelFolders
from loralathe.api.arguments import PathLike, folders_of, harmless
from loralathe.api.model_options import ModelOptions
from loralathe.api.picture_inputs import Lists, adapters_of, check_family
from loralathe.api.picture_options import RANDOM_SEED, GridChoices, Picture
from loralathe.api.renderers import PictureMaker, first_device, make_renderer, server_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor
    from typing_extensions import Self

    from loralathe.engine import RunOptions
    from loralathe.families import Family, Usual
    from loralathe.rendering import ImageRequest
    from loralathe.rendering.elsewhere.address import Server
    from loralathe.rendering.model_cache import WeightsInMemory
    from loralathe.strengths import AdapterUse
    from loralathe.studies import Context, RecipeWeights
    from loralathe.studies.models import MadeModels


class Opened:
    """A checkpoint, or a step of a recipe, with the renderer that draws it. Use it in a `with` block, or
    close it.

    Networks are loaded for the first picture and stay until `close`, and so do adapters and encoded texts.
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

    def __enter__(self) -> Self:
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

        self.found(use for request in requests for use in request.adapters)
        for file in dict.fromkeys(request.checkpoint for request in requests):
            if file != self.name and self._server is not None:
                look_at(file)
            elif file != self.name:
                family_of(file)

    def found(self, uses: Iterable[AdapterUse]) -> list[AdapterUse]:
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

        tagged = self.found(lift_tags(request.prompt).adapters)
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
