"""Everyday work, a function each: merge, extract, add difference, weighted sum, convert, any formula.

All of them write one file and give its report; where it is named after the inputs, `report.path` says how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api import recipes
from loralathe.api.keywords import (
    Inputs,
    PathLike,
    RunKeywords,
    SaveKeywords,
    paths,
    run_options,
    split_keywords,
    texts,
)
from loralathe.api.kinds import require_kinds
from loralathe.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from loralathe.engine import Report, RunOptions
    from loralathe.language import Recipe
    from loralathe.progress import Progress
    from loralathe.strengths import AdapterUse


def merge(
    base: PathLike,
    *adapters: PathLike | AdapterUse,
    output: PathLike | None = None,
    dtype: str | None = None,
    te: float = 1.0,
    unet: float = 1.0,
    blocks: Mapping[str, str] | None = None,
    elements: str | Sequence[str] = (),
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[SaveKeywords],
) -> Report:
    """base + strength · adapter + …, into a checkpoint.

    adapters: `PATH[:STRENGTH][:BLOCKS][:te=X][:unet=Y][:lbw=B][:lbwe=E]` as on the command line, or
    `AdapterUse`;  te, unet: multiply all their strengths;  blocks: lists by name, for their BLOCKS.
    elements: rules `blocks:elements:value` for every adapter;  include, exclude: only, and without, these
    blocks and layers: "IN04-OUT02 attn2".
    output: None for a name made from the inputs, beside the base;  dtype: fp16, bf16, fp32, None as the base.
    options, keywords: see `RunOptions`, and for vae, discard, metadata, metadata_from, config_from `Save`.

    Raises InputError for the person's mistakes, MachineError for a full disk or too little memory.
    """
    from loralathe.strengths import given_uses

    if not adapters:
        raise InputError(
            "there is no adapter to merge", fix='merge("base.safetensors", "hina.safetensors:0.7")'
        )
    specs = given_uses(adapters)
    require_kinds([Path(base)], [spec.path for spec in specs], fix="the base comes first")
    rules = recipes.rules_for_all(texts(elements), texts(include), texts(exclude))
    scaled = [recipes.adjusted(spec, rules, te, unet) for spec in specs]
    recipe = recipes.merge_recipe(Path(base), scaled, blocks or {}, _path(output), dtype)
    return _save(recipe, options, keywords, progress)


def extract(
    tuned: PathLike,
    base: PathLike,
    *,
    rank: int | None = None,
    conv_rank: int | None = None,
    energy: float | None = None,
    size: int | str | None = None,
    ranks: Mapping[str, float | str] | None = None,
    te1: bool | None = None,
    te2: bool | None = None,
    te3: bool | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    min_diff: float | None = None,
    exact: bool = False,
    pad_ranks: bool = False,
    keep_noise: bool = False,
    metadata: str = "new",
    output: PathLike | None = None,
    dtype: str | None = "fp16",
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[RunKeywords],
) -> Report:
    """tuned − base as a LoRA, the best of its rank; the report says what it holds of the difference.

    rank, conv_rank: of linear layers (64 where nothing else chooses), of convolutions (None: none of them).
    energy, size: the smallest file that keeps a share, the best within bytes or "100MB".
    ranks: any other arguments of extract() by name, such as {"ratio": 0.1, "conv": True} (docs/loras.md).
    te1, te2, te3: keep or drop a text encoder (te3 is T5), None by its own evidence.
    alpha, beta: alpha · tuned − beta · base.
    min_diff: leave out layers where no number differs by more;  exact: full decompositions.
    pad_ranks: one rank everywhere;  keep_noise: directions that the rounding of the files explains, too.
    metadata: new, or minimal (ss_ keys only, no record).  The rest: as for `merge`.
    """
    require_kinds([Path(tuned), Path(base)])
    given: dict[str, float | str | None] = {
        "rank": rank, "conv_rank": conv_rank, "energy": energy, "size": size, "te1": te1, "te2": te2,
        "te3": te3, "min_diff": min_diff, "exact": exact or None, "pad_ranks": pad_ranks or None,
        "keep_noise": keep_noise or None,
    }  # fmt: skip
    plain = {name: value for name, value in (given | dict(ranks or {})).items() if value is not None}
    arguments = {name: int(value) if isinstance(value, bool) else value for name, value in plain.items()}
    recipe = recipes.extract_recipe(
        Path(tuned), Path(base), arguments, _path(output), dtype, alpha=alpha, beta=beta, metadata=metadata
    )
    return _run(recipe, options, keywords, progress)


def add_difference(
    a: PathLike,
    b: PathLike,
    c: PathLike,
    multiplier: float,
    *,
    output: PathLike | None = None,
    dtype: str | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[SaveKeywords],
) -> Report:
    """a + multiplier · (b − c): what b has over c, added to a; plus moves a away from c, minus towards it."""
    require_kinds([Path(a), Path(b), Path(c)])
    recipe = recipes.add_difference_recipe(Path(a), Path(b), Path(c), float(multiplier), _path(output), dtype)
    return _save(recipe, options, keywords, progress)


def weighted_sum(
    a: PathLike,
    b: PathLike,
    multiplier: float,
    *,
    output: PathLike | None = None,
    dtype: str | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[SaveKeywords],
) -> Report:
    """(1 − multiplier) · a + multiplier · b: 0 is a, 1 is b."""
    require_kinds([Path(a), Path(b)])
    recipe = recipes.weighted_sum_recipe(Path(a), Path(b), float(multiplier), _path(output), dtype)
    return _save(recipe, options, keywords, progress)


def convert(
    a: PathLike,
    dtype: str | None = None,
    *,
    output: PathLike | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[SaveKeywords],
) -> Report:
    """The same checkpoint with its numbers stored as fp16, bf16 or fp32; marks and integers stay.

    dtype: None keeps each tensor's own, for a `.ckpt` or with other changes: vae, discard, metadata.
    """
    require_kinds([Path(a)])
    saving, rest = split_keywords(keywords)
    recipe = recipes.convert_recipe(Path(a), dtype, _path(output), saving)
    return _run(recipe, options, rest, progress)


def evaluate(
    formula: str,
    inputs: Inputs,
    *,
    variables: Mapping[str, float] | None = None,
    blocks: Mapping[str, str] | None = None,
    output: PathLike | None = None,
    dtype: str | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[SaveKeywords],
) -> Report:
    """Any formula over checkpoints and adapters: "B + 0.8*lora@Face - M*(B - A)" (docs/semantics.md §3).

    inputs: name → file;  variables, blocks: numbers and block lists that the formula names.
    """
    if not inputs:
        raise InputError("the formula has no files to work on", fix='inputs={"A": "base.safetensors"}')
    recipe = recipes.formula_recipe(
        formula, paths(inputs), variables or {}, blocks or {}, _path(output), dtype
    )
    return _save(recipe, options, keywords, progress)


def _path(output: PathLike | None) -> Path | None:
    return None if output is None else Path(output)


def _save(
    recipe: Recipe, options: RunOptions | None, keywords: SaveKeywords, progress: Progress | None
) -> Report:
    saving, rest = split_keywords(keywords)
    return _run(recipes.with_saving(recipe, saving), options, rest, progress)


def _run(
    recipe: Recipe, options: RunOptions | None, keywords: RunKeywords, progress: Progress | None
) -> Report:
    from loralathe.engine import run_recipe

    return run_recipe(recipe, run_options(options, keywords), progress)
