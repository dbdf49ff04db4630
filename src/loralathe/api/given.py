"""Studies of pictures that another program draws: what each picture must be, and the result of all of them.

The program draws one picture for each of `requests`, with everything of its own that they do not say, and
gives them to `finish`. ComfyUI's nodes do so with the sampler of their graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from loralathe.api.arguments import Folders, PathLike, Presets, block_presets, folders_of
from loralathe.api.picture_inputs import adapters_of, check_examined, check_family
from loralathe.api.picture_options import MOST_CELLS
from loralathe.errors import InputError, counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from loralathe.families import Family
    from loralathe.progress import Progress
    from loralathe.rendering.request import ImageRequest, OnImage, Renderer
    from loralathe.strengths import AdapterUse
    from loralathe.studies import BlockReport, Context, GridResult

    Pixels = NDArray[np.uint8]

__all__ = ["GivenStudy", "given_blocks", "given_grid"]

R = TypeVar("R")
SMALLEST = 8


@dataclass(frozen=True)
class GivenStudy(Generic[R]):
    """A study before its pictures are there.

    requests: one for each picture, all different. In a block analysis they differ in the block weights of one
              LoRA, and the first of a seed is what the others are compared with; in a grid as its axes say.
    """

    requests: tuple[ImageRequest, ...]
    run: Callable[[Renderer], R]

    def finish(self, pictures: Sequence[Pixels]) -> R:
        """The result, written into its folder. pictures: (height, width, 3) uint8, in the order of requests.

        Raises InputError for another number of pictures, and for pictures of different sizes.
        """
        import numpy as np
        from PIL import Image

        if len(pictures) != len(self.requests):
            raise InputError(
                f"{counted(len(pictures), 'picture')} for a study of {len(self.requests)}",
                fix="draw one for each request",
            )
        arrays = [np.ascontiguousarray(one, dtype=np.uint8) for one in pictures]
        sizes = {array.shape for array in arrays}
        if len(sizes) > 1:
            shown = ", ".join(sorted(f"{shape[1]}×{shape[0]}" for shape in sizes))
            raise InputError("the pictures have different sizes", where=shown)
        images = [Image.fromarray(array) for array in arrays]
        return self.run(_Drawn(dict(zip(self.requests, images, strict=True))))


@dataclass(frozen=True)
class _Drawn:
    """A renderer that has its pictures already."""

    pictures: Mapping[ImageRequest, Image]

    def render(self, requests: Sequence[ImageRequest], on_image: OnImage) -> None:
        for index, request in enumerate(requests):
            on_image(index, self.pictures[request])


def given_blocks(
    *adapters: PathLike | AdapterUse,
    output: PathLike,
    checkpoint: str = "model",
    range: str = "0.5,1",
    blocks: str = "",
    adapter: str = "",
    te: bool = False,
    seed: int = 0,
    seeds: int = 1,
    size: tuple[int, int] = (512, 512),
    threshold: int = 20,
    color: Literal["black", "white"] = "black",
    lists: Mapping[str, str] | None = None,
    presets: Presets | None = None,
    lora_dir: Folders = (),
    progress: Progress | None = None,
) -> GivenStudy[BlockReport]:
    """What each block of a LoRA does to the picture of another program; options as of `blocks`.

    checkpoint: what its model is called in the result;  size: of the pictures.
    Raises InputError for mistakes in range, blocks and adapters.
    """
    from loralathe.studies import BlocksOptions, analyze_blocks
    from loralathe.studies.analyzer import fitting_list, read_groups
    from loralathe.studies.analyzer.analyze import begin_study

    uses, family = _adapters(adapters, lora_dir)
    known = {**block_presets(presets, progress), **(lists or {})}
    request = _request(uses, checkpoint, seed, size)
    files = [use.path for use in uses]
    check_examined(files, request, adapter)
    options = BlocksOptions(
        request,
        Path(output),
        adapter=adapter,
        range=range,
        blocks=blocks or fitting_list(files, family),
        lists=known,
        split_encoders=tuple(name.upper() for name in family.encoder_blocks) if te else (),
        threshold=threshold,
        background=color,
        seeds=seeds,
        context=_context(family, known, lora_dir),
    )
    study = begin_study(options)
    groups, _ = read_groups(options)
    wanted: list[ImageRequest] = []
    for number in study.seeds:
        wanted += [study.job(names, number).request for names in ((), *(group.blocks for group in groups))]
    return GivenStudy(
        tuple(dict.fromkeys(wanted)), lambda renderer: analyze_blocks(options, renderer, progress)
    )


def given_grid(
    *adapters: PathLike | AdapterUse,
    output: PathLike,
    x: str = "",
    y: str = "",
    z: str = "",
    checkpoint: str = "model",
    seed: int = 0,
    steps: int = 20,
    cfg: float = 7.0,
    size: tuple[int, int] = (512, 512),
    legend: bool = True,
    max_cells: int | None = MOST_CELLS,
    lists: Mapping[str, str] | None = None,
    presets: Presets | None = None,
    lora_dir: Folders = (),
    progress: Progress | None = None,
) -> GivenStudy[GridResult]:
    """Pictures of another program side by side, along axes as of `grid`.

    seed, steps, cfg, size: what the program draws with, where no axis changes it.
    Raises InputError for mistakes in axes and adapters; the program says whether it can draw a request.
    """
    from loralathe.studies import GridOptions, plan_of, run_grid
    from loralathe.studies.drawing.grid import GridLook

    uses, family = _adapters(adapters, lora_dir)
    known = {**block_presets(presets, progress), **(lists or {})}
    request = replace(_request(uses, checkpoint, seed, size), steps=steps, cfg=cfg)
    options = GridOptions(
        request,
        Path(output),
        x=x,
        y=y,
        z=z,
        context=_context(family, known, lora_dir),
        max_cells=max_cells,
        look=GridLook(legend=legend),
        preview_seconds=0,
    )
    requests = tuple(job.request for job in plan_of(options).jobs)
    return GivenStudy(tuple(dict.fromkeys(requests)), lambda renderer: run_grid(options, renderer, progress))


def _adapters(given: Sequence[PathLike | AdapterUse], lora_dir: Folders) -> tuple[list[AdapterUse], Family]:
    """The LoRAs, and the family that the first of them is for. InputError for others, and for none."""
    from loralathe.adapters import detect_adapter, own_family
    from loralathe.tensorfiles import read_header

    uses = list(adapters_of(given, folders_of(lora_dir)))
    if not uses:
        raise InputError("there is no LoRA to study", fix="put one into the graph")
    header = read_header(uses[0].path)
    family = own_family(header, detect_adapter(header, uses[0].file))
    for use in uses[1:]:
        check_family(use.file, family)
    return uses, family


def _request(uses: Sequence[AdapterUse], checkpoint: str, seed: int, size: tuple[int, int]) -> ImageRequest:
    """Sizes as requests have them, multiples of 8: another program's pictures may have any."""
    from loralathe.rendering.request import ImageRequest

    width, height = (max(SMALLEST, side // SMALLEST * SMALLEST) for side in size)
    return ImageRequest(checkpoint, seed=seed, width=width, height=height, adapters=tuple(uses))


def _context(family: Family, presets: Mapping[str, str], lora_dir: Folders) -> Context:
    from loralathe.studies import gather_context

    return gather_context(family, lora_dirs=folders_of(lora_dir), presets=presets)
