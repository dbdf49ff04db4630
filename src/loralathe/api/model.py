"""The door of an open model: its renders, grids and block studies share the loaded networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.arguments import PathLike
from loralathe.api.judging import card_file, card_of, scorers_of
from loralathe.api.model_options import parted
from loralathe.api.opened import Opened
from loralathe.api.picture_inputs import check_examined
from loralathe.api.picture_options import (
    RANDOM_SEED,
    BlocksChoices,
    BlocksKeywords,
    GridChoices,
    GridKeywords,
    Picture,
    RenderKeywords,
    position,
)
from loralathe.api.prepared_pictures import PreparedBlocks, PreparedGrid, PreparedPictures
from loralathe.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from loralathe.strengths import AdapterUse
    from loralathe.studies import BlockReport, GridResult


class OpenModel(Opened):
    """A checkpoint, or a step of a recipe, that many pictures share. Use it in a `with` block, or close it.

    Each `prepare_…` checks names, numbers, adapters and tags; nothing is loaded before its `run`.
    """

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
        files = [use.path for use in self.found((*request.adapters, *lift_tags(request.prompt).adapters))]
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
