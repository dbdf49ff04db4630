"""LoRAs into one, and a LoRA at another size: recipes of combine() and resize(), and the functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.keywords import PathLike, RunKeywords, run_options, texts
from loralathe.api.names import InputNames, beside, stem
from loralathe.api.recipes import EXTRACTED, added_terms, adjusted, joined_name, rules_for_all
from loralathe.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from loralathe.engine import Report, RunOptions
    from loralathe.language import Recipe
    from loralathe.progress import Progress
    from loralathe.strengths import AdapterUse

Ranks = Mapping[str, float | str]
"""What chooses the ranks: arguments of extract(), combine() and resize() by name (docs/loras.md)."""

RULES = ("threshold", "ratio", "quantile", "fro")


def combine(
    *adapters: PathLike | AdapterUse,
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
) -> Report:
    """One LoRA that does what all adapters do together.

    ranks: None for exact factors side by side, else what chooses them: {"rank": 32}, {"energy": 0.95},
    {"size": "20MB"}, {"ratio": 0.1};  metadata: new, first, merge, all or minimal.
    The rest: as for `merge`.
    """
    from loralathe.strengths import given_uses

    if not adapters:
        raise InputError(
            "there is no adapter to combine", fix='combine("hina.safetensors:0.7", "b.safetensors")'
        )
    specs = given_uses(adapters)
    rules = rules_for_all(texts(elements), texts(include), texts(exclude))
    scaled = [adjusted(spec, rules, te, unet) for spec in specs]
    file = None if output is None else Path(output)
    recipe = combine_recipe(scaled, ranks or {}, blocks or {}, file, dtype, metadata)
    return _run(recipe, options, keywords, progress)


def resize(
    lora: PathLike,
    ranks: Ranks,
    *,
    output: PathLike | None = None,
    dtype: str | None = "fp16",
    metadata: str = "first",
    options: RunOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[RunKeywords],
) -> Report:
    """A LoRA at another rank, from its factors alone; ranks, metadata and the rest: as for `combine`."""
    file = None if output is None else Path(output)
    return _run(resize_recipe(Path(lora), ranks, file, dtype, metadata), options, keywords, progress)


def combine_recipe(
    specs: Sequence[AdapterUse],
    ranks: Ranks,
    lists: Mapping[str, str],
    output: Path | None,
    dtype: str | None,
    metadata: str,
) -> Recipe:
    """`combine(0.7*hina@Face + 0.4*style, rank=32)`."""
    names = InputNames({EXTRACTED, *lists, *(spec.blocks for spec in specs if spec.blocks)})
    formula = call_text("combine", added_terms(names, specs), ranks)
    label = ranks_label(ranks)
    file = output or beside(specs[0].path, joined_name(specs) + (f"_{label}" if label else ""))
    return _recipe(formula, names.inputs, lists, file, dtype, metadata)


def resize_recipe(lora: Path, ranks: Ranks, output: Path | None, dtype: str | None, metadata: str) -> Recipe:
    """`resize(hina, energy=0.95)`."""
    names = InputNames({EXTRACTED})
    formula = call_text("resize", names.name(lora), ranks)
    file = output or beside(lora, f"{stem(lora)}_{ranks_label(ranks)}")
    return _recipe(formula, names.inputs, {}, file, dtype, metadata)


def call_text(function: str, values: str, arguments: Mapping[str, object]) -> str:
    """`extract(tuned - base, rank=64, size='100MB')`."""
    parts = [values, *(f"{name}={value!r}" for name, value in arguments.items())]
    return f"{function}({', '.join(parts)})"


def ranks_label(ranks: Mapping[str, object]) -> str:
    """A word for file names: `r64c16`, `95%`, `100MB`, `ratio0.1`, `full`; nothing for exact factors."""
    if isinstance(energy := ranks.get("energy"), float):
        return f"{100 * energy:g}%"
    if "size" in ranks:
        return str(ranks["size"]).replace(" ", "")
    for kind in RULES:
        if kind in ranks:
            return f"{kind}{ranks[kind]:g}"
    if "full" in ranks:
        return "full"
    conv = f"c{ranks['conv_rank']}" if "conv_rank" in ranks else ""
    return f"r{ranks['rank']}{conv}" if "rank" in ranks else ""


def _recipe(
    formula: str,
    inputs: Mapping[str, Path],
    lists: Mapping[str, str],
    file: Path,
    dtype: str | None,
    metadata: str,
) -> Recipe:
    from loralathe.language import Save, make_recipe

    save = Save(EXTRACTED, file, dtype, adapter_metadata=metadata)
    return make_recipe(
        inputs=inputs, steps={EXTRACTED: formula}, blocks=lists, saves=[save], where="the formula"
    )


def _run(
    recipe: Recipe, options: RunOptions | None, keywords: RunKeywords, progress: Progress | None
) -> Report:
    from loralathe.engine import run_recipe

    return run_recipe(recipe, run_options(options, keywords), progress)
