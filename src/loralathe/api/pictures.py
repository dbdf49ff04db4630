"""Pictures: one prompt, a grid, a block study; each opens a model, which may also be opened for many.

Keywords go into three kinds of options: how the model is opened (`ModelOptions`), what is in a picture
(`Picture`), and what the study is (`GridChoices`, `BlocksChoices`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.arguments import File, Folders, PathLike, folders_of
from loralathe.api.model import OpenModel
from loralathe.api.model_options import ModelKeywords, ModelOptions, parted
from loralathe.api.picture_inputs import Lists, adapters_of, lists_of
from loralathe.api.picture_options import (
    BlocksChoices,
    GridChoices,
    OpenBlocksKeywords,
    OpenGridKeywords,
    OpenRenderKeywords,
    Picture,
)
from loralathe.api.prepared_pictures import (
    BlocksPlan,
    PicturePlan,
    PreparedBlocks,
    PreparedGrid,
    PreparedPictures,
)
from loralathe.api.renderers import server_of
from loralathe.api.search import Search
from loralathe.errors import InputError, option
from loralathe.tensorfiles import MemoryPath, digest_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from loralathe.families import Family
    from loralathe.progress import Progress
    from loralathe.strengths import AdapterUse
    from loralathe.studies import BlockReport, GridResult, WeightStudy

__all__ = [
    "BlocksChoices", "BlocksPlan", "GridChoices", "ModelOptions", "OpenModel", "Picture", "PicturePlan",
    "PreparedBlocks", "PreparedGrid", "PreparedPictures", "axis_examples", "block_weights", "blocks",
    "grid", "need_libraries", "open_model", "open_recipe", "render",
]  # fmt: skip


def render(
    checkpoint: File, *adapters: PathLike | AdapterUse, **keywords: Unpack[OpenRenderKeywords]
) -> list[Path]:
    """Pictures of one prompt; the files, in order of seed.

    checkpoint: a file, a diffusers folder or a state dict.
    adapters: as for `merge`, with lora_dir also names.
    output: a .png, or a folder for several; None for a folder here, named after the inputs.
    count: pictures, seeds counting up;  force: replace a picture that exists.
    prompt, seed, steps, cfg, sampler, size, …: see `Picture`.
    device, dtype, lora_dir, …: see `ModelOptions`.

    Raises InputError for the person's mistakes, MachineError for a missing library or too little memory.
    """
    opening, rest = parted(keywords, ModelOptions)
    with open_model(checkpoint, **opening) as model:
        return model.render(*adapters, **rest)


def grid(
    checkpoint: File, *adapters: PathLike | AdapterUse, **keywords: Unpack[OpenGridKeywords]
) -> GridResult:
    """Pictures side by side: columns, rows and sheets along the axes x, y and z.

    x, y, z: `NAME = VALUES`, such as "hina = 0..1 [5]" or "seed = 1-4";  output: the folder.
    Finished pictures stay in it: the same call goes on where it stopped.  The rest: see `GridChoices`, and
    as for `render`.
    """
    opening, rest = parted(keywords, ModelOptions)
    with open_model(checkpoint, **opening) as model:
        return model.grid(*adapters, **rest)


def blocks(
    checkpoint: File, *adapters: PathLike | AdapterUse, **keywords: Unpack[OpenBlocksKeywords]
) -> BlockReport:
    """What each block of a LoRA does to the picture.

    range: "X,Y": the weight of one block after the other, and of all others;  blocks: which ones.
    The rest: see `BlocksChoices`, and as for `render`.
    """
    opening, rest = parted(keywords, ModelOptions)
    with open_model(checkpoint, **opening) as model:
        return model.blocks(*adapters, **rest)


def block_weights(
    checkpoint: File,
    adapter: PathLike,
    other: PathLike | None = None,
    *,
    lora_dir: Folders = (),
    checkpoint_dir: Folders = (),
    allow_unmatched: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> WeightStudy:
    """How much an adapter changes each block, from its weights alone; `other` is compared with it."""
    from loralathe.studies import study_weights

    given = [adapter] if other is None else [adapter, other]
    files = [use.file for use in adapters_of(given, folders_of(lora_dir))]
    base = Search((), checkpoint_dir).checkpoint(checkpoint, "checkpoint")
    return study_weights(
        base, *files, allow_unmatched=allow_unmatched, progress=progress,
        threads=threads,
    )  # fmt: skip


def open_model(checkpoint: File, **keywords: Unpack[ModelKeywords]) -> OpenModel:
    """A checkpoint whose `render`, `grid` and `blocks` share the loaded networks; see `ModelOptions`.

    Raises InputError for a file that is no checkpoint, and for a family that is not rendered.
    """
    from loralathe.rendering.families import family_of, metadata_of, usual_for

    options = ModelOptions(**keywords)
    need_libraries(here=server_of(options) is None)
    lists = lists_of(options)
    path = Search((), options.checkpoint_folders).checkpoint(checkpoint, "checkpoint")
    if server_of(options) is not None:
        return _open_elsewhere(path, options, lists)
    if not isinstance(path, MemoryPath):
        family = family_of(path)
        _check_parts(path, family, options)
        return OpenModel(str(path), family, options, lists, metadata=metadata_of(path), usual=usual_for(path))
    # A study keeps its cells by this name: other tensors must have another one.
    name = f"{path} {digest_of(path)[:16]}"
    family = family_of(path)
    return OpenModel(name, family, options, lists, weights={name: path.tensors}, usual=usual_for(path))


def _open_elsewhere(path: Path, options: ModelOptions, lists: Lists) -> OpenModel:
    """A checkpoint that another program draws with; it may be of a family that is not drawn here."""
    from loralathe.rendering.elsewhere.program import look_at
    from loralathe.rendering.families import metadata_of

    known = look_at(str(path))
    return OpenModel(
        str(path), known.family, options, lists,
        metadata=metadata_of(path), usual=known.usual, side=known.side,
    )  # fmt: skip


def _check_parts(path: Path, family: Family, options: ModelOptions) -> None:
    """InputError for text encoders and tokenizers that are nowhere: models take long to load."""
    from loralathe.families import original_header
    from loralathe.rendering.families import is_pipeline

    if family.pictures is None or not family.pictures.flow or is_pipeline(path):
        return
    from loralathe.rendering.loading import find_parts

    find_parts(family, family.pictures, original_header(path).tensors, options.part_files, str(path))


def open_recipe(
    path: PathLike,
    step: str | None = None,
    variables: Mapping[str, float] | None = None,
    **keywords: Unpack[ModelKeywords],
) -> OpenModel:
    """A step of a recipe, made in memory, as a model; the axes of its grids take the recipe's variables.

    step: None for the only checkpoint that the recipe saves;  variables: win over the recipe's own.
    """
    from loralathe.engine import RunOptions
    from loralathe.rendering.families import usual_for
    from loralathe.studies import RecipeWeights

    options = ModelOptions(**keywords)
    if (server := server_of(options)) is not None:
        raise InputError(
            f"{server.label} draws with files, and a recipe is made in memory",
            where=option("on", options.on),
            fix="run the recipe, put the file into the folder of that program, and draw with it",
        )
    need_libraries()
    lists = lists_of(options)
    run = RunOptions(
        presets=lists.blocks,
        missing_blocks=options.missing_blocks,
        allow_unmatched=options.allow_unmatched,
        hash_inputs=False,
    )
    folders = Search(options.folders, options.checkpoint_folders).either
    recipe = RecipeWeights(
        Path(path), step, variables, folders=folders, options=run, progress=options.progress
    )
    name = f"{Path(recipe.file).name} {recipe.step}"
    return OpenModel(
        name,
        recipe.family,
        options,
        lists,
        weights=recipe.held,
        recipe=recipe,
        metadata=recipe.metadata,
        usual=usual_for(recipe.first_model),
    )


def axis_examples() -> tuple[str, ...]:
    """One example for every kind of axis."""
    from loralathe.studies.axes import AXIS_KINDS

    return tuple(kind.example for kind in AXIS_KINDS)


def need_libraries(*, here: bool = True) -> None:
    """MachineError, with the way to install it, when Pillow is missing, or diffusers, which draws here."""
    from loralathe.rendering.machine import require_library

    require_library("PIL")
    if here:
        require_library("diffusers")
