"""Blocks by segments: which parts of a LoRA matter, by halving, on as few pictures as it takes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.arguments import File, PathLike
from loralathe.api.model import OpenModel
from loralathe.api.model_options import ModelKeywords, ModelOptions, parted
from loralathe.api.picture_options import BlocksKeywords
from loralathe.api.pictures import open_model

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from loralathe.strengths import AdapterUse
    from loralathe.studies.segments.report import SegmentsReport
    from loralathe.studies.segments.search import SegmentsOptions, SegmentsPlan

__all__ = ["PreparedSegments", "SegmentChoices", "block_segments", "prepare_segments"]


@dataclass(frozen=True)
class SegmentChoices:
    """What a search of segments is, beside the fields of `BlocksChoices`; `seeds` are those of its beginning.

    With a card, likeness is what counts; without one, how much of the picture changes.
    most_seeds: of segments whose order is unclear.  slack: values this near count as equal, as a share.
    error: chance that any of the places that are called certain is wrong.
    """

    most_seeds: int = 16
    slack: float = 0.02
    error: float = 0.05


class SegmentKeywords(BlocksKeywords, total=False):
    """The fields of `SegmentChoices`, `BlocksChoices` and `Picture`."""

    most_seeds: int
    slack: float
    error: float


class OpenSegmentKeywords(SegmentKeywords, ModelKeywords, total=False):
    """The same of a model that is opened for it."""


def block_segments(
    checkpoint: File, *adapters: PathLike | AdapterUse, **keywords: Unpack[OpenSegmentKeywords]
) -> SegmentsReport:
    """Each segment of a LoRA alone and left out, halves of those that matter, until their order is certain.

    The rest: see `SegmentChoices`, and as for `blocks`; `range` has no meaning here.
    """
    opening, rest = parted(keywords, ModelOptions)
    with open_model(checkpoint, **opening) as model:
        return prepare_segments(model, *adapters, **rest).run()


def prepare_segments(
    model: OpenModel, *adapters: PathLike | AdapterUse, **keywords: Unpack[SegmentKeywords]
) -> PreparedSegments:
    """A search of segments in a model that is open; nothing is loaded before its `run`."""
    from loralathe.studies.segments.search import SegmentsOptions

    own = {field.name for field in fields(SegmentChoices)}
    choices = SegmentChoices(**{name: value for name, value in keywords.items() if name in own})  # type: ignore[arg-type]
    rest = {name: value for name, value in keywords.items() if name not in own}
    first = int(rest.pop("seeds", 2))  # type: ignore[call-overload]
    named = rest.get("output") is not None
    prepared = model.prepare_blocks(*adapters, **rest)  # type: ignore[arg-type]
    blocks = prepared.options
    if not named:  # beside an analysis of the same LoRA, not in its place
        blocks = replace(blocks, folder=Path(str(blocks.folder).removesuffix("-blocks") + "-segments"))
    options = SegmentsOptions(
        blocks,
        card=blocks.card,
        first=first,
        most=max(choices.most_seeds, first),
        slack=choices.slack,
        error=choices.error,
    )
    return PreparedSegments(model, options, prepared.random_seed)


@dataclass(frozen=True)
class PreparedSegments:
    """A search of segments to be done."""

    model: OpenModel
    options: SegmentsOptions
    random_seed: bool

    def plan(self) -> SegmentsPlan:
        """The first segments, and how many pictures it takes at least."""
        from loralathe.studies.segments.search import plan_segments

        plan = plan_segments(self.options)
        remarks = self.model.remarks([self.options.blocks.request])
        return replace(plan, issues=(*plan.issues, *remarks))

    def run(self) -> SegmentsReport:
        """Search. When it is cancelled, finished pictures stay, and the same call goes on."""
        from loralathe.studies import SeedBook
        from loralathe.studies.segments.search import find_segments

        options = self.options
        if self.random_seed:
            # Drawn once for the folder, so that the same call goes on with the same pictures.
            seed = SeedBook(options.blocks.folder).next()
            blocks = replace(options.blocks, request=replace(options.blocks.request, seed=seed))
            options = replace(options, blocks=blocks)
        return find_segments(options, self.model.renderer, self.model.options.progress)
