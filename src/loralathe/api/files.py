"""What makes model files: merge, extract, combine, … each a recipe of one step.

Every function has a `prepare` that takes the same arguments and gives the recipe, ready to run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api import recipes
from loralathe.api.arguments import (
    MEMORY,
    File,
    Inputs,
    PathLike,
    RunKeywords,
    SaveKeywords,
    as_output,
    require_kinds,
    run_options,
    split_keywords,
    texts,
)
from loralathe.api.measuring import with_study
from loralathe.api.prepared import Planned, Prepared, running
from loralathe.api.recipes import Ranks
from loralathe.api.search import search_of
from loralathe.errors import InputError, option

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from loralathe.engine import RunOptions
    from loralathe.language import Recipe
    from loralathe.progress import Progress
    from loralathe.strengths import AdapterUse

__all__ = [
    "MEMORY", "Planned", "Prepared", "add_difference", "combine", "convert", "evaluate", "extract",
    "function_names", "merge", "resize", "weighted_sum",
]  # fmt: skip


@running
def merge(
    base: File,
    *adapters: File | AdapterUse,
    output: PathLike | None = None,
    dtype: str | None = None,
    te: float = 1.0,
    unet: float = 1.0,
    blocks: Mapping[str, str] | None = None,
    elements: str | Sequence[str] = (),
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    measured: PathLike | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[SaveKeywords],
) -> Prepared:
    """base + strength · adapter + …, into a checkpoint.

    base, adapters: paths or state dicts; an adapter also as `PATH[:STRENGTH][:BLOCKS][:te=X][:unet=Y]
    [:lbw=B][:lbwe=E]` or as an `AdapterUse`.
    te, unet: multiply all strengths of the adapters;  blocks: lists by name, for their BLOCKS.
    elements: rules `blocks:elements:value` for every adapter;  include, exclude: only, and without, these
    blocks and layers: "IN04-OUT02 attn2".
    output: a file; None for a name made from the inputs, beside the base; MEMORY for `report.tensors`.
    dtype: fp16, bf16, fp32, None as the base.
    measured: folder of a search that recommends this, or of a grid with a card that shows it: the numbers
        go into the file.
    options, keywords: see `RunOptions`, and for vae, discard, metadata, metadata_from, config_from `Save`;
    lora_dir, checkpoint_dir: folders in which files are found by name, besides the current one.

    Raises InputError for the person's mistakes, MachineError for a full disk or too little memory.
    """
    if not adapters:
        raise InputError(
            "there is no adapter to merge", fix='merge("base.safetensors", "hina.safetensors:0.7")'
        )
    search = search_of(keywords)
    uses, held = search.uses(adapters)
    path = search.checkpoint(base, "base")
    places = [held.get(use.file, use.path) for use in uses]
    require_kinds([path], places, fix="the base comes first, its LoRAs after it")
    rules = (texts(elements), texts(include), texts(exclude))
    scaled = [recipes.adjusted(use, *rules, te, unet) for use in uses]
    recipe = recipes.merge_recipe(path, scaled, blocks or {}, as_output(output), dtype, held)
    return with_study(_saving(recipe, options, keywords, progress), measured)


@running
def extract(
    tuned: File,
    base: File,
    *,
    rank: int | None = None,
    conv_rank: int | None = None,
    energy: float | None = None,
    size: int | str | None = None,
    ranks: Ranks | None = None,
    te1: bool | None = None,
    te2: bool | None = None,
    te3: bool | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    min_diff: float | None = None,
    exact: bool = False,
    pad_ranks: bool = False,
    keep_noise: bool = False,
    keep_norm: bool = False,
    metadata: str = "new",
    output: PathLike | None = None,
    dtype: str | None = "fp16",
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[RunKeywords],
) -> Prepared:
    """tuned − base as a LoRA, the best of its rank; the report says what it holds of the difference.

    rank, conv_rank: of linear layers (64 where nothing else chooses), of convolutions (None: none of them).
    energy, size: the smallest file that keeps a share, the best within bytes or "100MB".
    ranks: any other arguments of extract() by name, such as {"ratio": 0.1, "conv": True} (docs/loras.md).
    te1, te2, te3: keep or drop a text encoder (te3 is T5); None keeps one that changed.
    alpha, beta: alpha · tuned − beta · base.
    min_diff: leave out layers where no number differs by more;  exact: full decompositions.
    pad_ranks: one rank everywhere;  keep_noise: keep directions that the rounding of the files explains, too.
    keep_norm: factors as long as the whole difference of their layer; for a low rank.
    metadata: new, or minimal (ss_ keys only, no record).  The rest: as for `merge`.
    """
    search = search_of(keywords)
    paths = search.checkpoint(tuned, "tuned"), search.checkpoint(base, "base")
    require_kinds(paths)
    arguments = _arguments(
        ranks, rank=rank, conv_rank=conv_rank, energy=energy, size=size, te1=te1, te2=te2, te3=te3,
        min_diff=min_diff, exact=exact or None, pad_ranks=pad_ranks or None, keep_noise=keep_noise or None,
        keep_norm=keep_norm or None,
    )  # fmt: skip
    recipe = recipes.extract_recipe(
        *paths, arguments, as_output(output), dtype, alpha=alpha, beta=beta, metadata=metadata
    )
    return Prepared(recipe, run_options(options, keywords, progress), progress)


@running
def combine(
    *adapters: File | AdapterUse,
    rank: int | None = None,
    conv_rank: int | None = None,
    energy: float | None = None,
    size: int | str | None = None,
    ranks: Ranks | None = None,
    output: PathLike | None = None,
    dtype: str | None = "fp16",
    te: float = 1.0,
    unet: float = 1.0,
    blocks: Mapping[str, str] | None = None,
    elements: str | Sequence[str] = (),
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    metadata: str = "new",
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[RunKeywords],
) -> Prepared:
    """One LoRA that does what all adapters do together.

    rank, conv_rank, energy, size, ranks: as for `extract`; with none of them the result is exact.
    metadata: new, first, merge, all or minimal.  The rest: as for `merge`.
    """
    if not adapters:
        raise InputError(
            "there is no adapter to combine", fix='combine("hina.safetensors:0.7", "b.safetensors")'
        )
    uses, held = search_of(keywords).uses(adapters)
    require_kinds((), [held.get(use.file, use.path) for use in uses])
    rules = (texts(elements), texts(include), texts(exclude))
    scaled = [recipes.adjusted(use, *rules, te, unet) for use in uses]
    arguments = _arguments(ranks, rank=rank, conv_rank=conv_rank, energy=energy, size=size)
    recipe = recipes.combine_recipe(scaled, arguments, blocks or {}, as_output(output), dtype, metadata, held)
    return Prepared(recipe, run_options(options, keywords, progress), progress)


@running
def resize(
    lora: File,
    ranks: Ranks | None = None,
    *,
    rank: int | None = None,
    conv_rank: int | None = None,
    energy: float | None = None,
    size: int | str | None = None,
    output: PathLike | None = None,
    dtype: str | None = "fp16",
    metadata: str = "first",
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[RunKeywords],
) -> Prepared:
    """A LoRA at another rank, from its factors alone; its options are those of `combine`."""
    arguments = _arguments(ranks, rank=rank, conv_rank=conv_rank, energy=energy, size=size)
    path = search_of(keywords).lora(lora, "lora")
    recipe = recipes.resize_recipe(path, arguments, as_output(output), dtype, metadata)
    require_kinds((), [path])
    return Prepared(recipe, run_options(options, keywords, progress), progress)


@running
def add_difference(
    a: File,
    b: File,
    c: File,
    multiplier: float,
    *,
    output: PathLike | None = None,
    dtype: str | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[SaveKeywords],
) -> Prepared:
    """a + multiplier · (b − c): what b has over c, added to a; plus moves a away from c, minus towards it."""
    search = search_of(keywords)
    paths = search.checkpoint(a, "A"), search.checkpoint(b, "B"), search.checkpoint(c, "C")
    require_kinds(paths)
    recipe = recipes.add_difference_recipe(*paths, float(multiplier), as_output(output), dtype)
    return _saving(recipe, options, keywords, progress)


@running
def weighted_sum(
    a: File,
    b: File,
    multiplier: float,
    *,
    output: PathLike | None = None,
    dtype: str | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[SaveKeywords],
) -> Prepared:
    """(1 − multiplier) · a + multiplier · b: 0 is a, 1 is b."""
    search = search_of(keywords)
    paths = search.checkpoint(a, "A"), search.checkpoint(b, "B")
    require_kinds(paths)
    recipe = recipes.weighted_sum_recipe(*paths, float(multiplier), as_output(output), dtype)
    return _saving(recipe, options, keywords, progress)


@running
def convert(
    a: File,
    dtype: str | None = None,
    *,
    layout: str | None = None,
    shard_size: int | str = "10GB",
    like: PathLike | None = None,
    output: PathLike | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[SaveKeywords],
) -> Prepared:
    """The same checkpoint with its numbers stored as fp16, bf16 or fp32; marks and integers stay.

    dtype: None keeps each tensor's own, for a `.ckpt` or with other changes: layout, vae, discard, metadata;
    bf16 for quantised weights (scaled fp8, GGUF, …).
    layout: "original", one file, which is usual; "diffusers", a folder of networks. Of a folder:
    shard_size: the most that a file of it holds;  like: another folder whose configs and tokenizers are
    copied, None for those of `a`, if it is a folder. What weights do not tell is not made up.
    """
    path = search_of(keywords).checkpoint(a, "A")
    require_kinds([path], fix=f"to write a LoRA for another program, add {option('to', 'diffusers')}")
    choices = split_keywords(keywords)[0]
    folder = recipes.FolderChoices(layout, str(shard_size), None if like is None else Path(like))
    recipe = recipes.convert_recipe(path, dtype, as_output(output), choices, folder)
    return _saving(recipe, options, keywords, progress)


@running
def evaluate(
    formula: str,
    inputs: Inputs,
    *,
    variables: Mapping[str, float] | None = None,
    blocks: Mapping[str, str] | None = None,
    output: PathLike | None = None,
    dtype: str | None = None,
    measured: PathLike | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[SaveKeywords],
) -> Prepared:
    """Any formula over checkpoints and adapters: "B + 0.8*lora@Face - M*(B - A)" (docs/semantics.md §3).

    inputs: name → file;  variables, blocks: numbers and block lists that the formula names.
    measured: as for `merge`.
    """
    if not inputs:
        raise InputError("the formula has no files to work on", fix='inputs={"A": "base.safetensors"}')
    recipe = recipes.formula_recipe(
        formula, search_of(keywords).files(inputs), variables or {}, blocks or {}, as_output(output), dtype
    )
    return with_study(_saving(recipe, options, keywords, progress), measured)


def function_names() -> tuple[str, ...]:
    """What formulas can call, merge methods included (docs/merge-methods.md)."""
    from loralathe.language import functions

    return tuple(sorted(functions()))


def _arguments(ranks: Ranks | None, **given: float | str | None) -> dict[str, float | str]:
    """Arguments of extract(), combine() and resize(), those that are not None; formulas have no True."""
    every = [*given.items(), *(ranks or {}).items()]
    plain = {name: value for name, value in every if value is not None}
    return {name: int(value) if isinstance(value, bool) else value for name, value in plain.items()}


def _saving(
    recipe: Recipe, options: RunOptions | None, keywords: SaveKeywords, progress: Progress | None
) -> Prepared:
    saving, rest = split_keywords(keywords)
    return Prepared(recipes.with_saving(recipe, saving), run_options(options, rest, progress), progress)
