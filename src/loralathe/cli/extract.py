"""`lathe extract`: a LoRA from the difference of two checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loralathe.cli.options import FilePath, LatheCommand, common, common_options

STEP = "lora"

EPILOG = """\b
The report tells, per block, what the LoRA holds of the difference (kept), what lies beyond its
rank (truncated), what rounding of the files explains (noise), and what no LoRA holds, such as
biases and norms (outside).

\b
Examples:
  lathe extract tuned.safetensors base.safetensors
  lathe extract tuned.safetensors base.safetensors --rank 32 --conv-rank 16 -o hina.safetensors
  lathe extract tuned.safetensors base.safetensors --no-te1 --no-te2 --dtype bf16
"""


@click.command("extract", cls=LatheCommand, epilog=EPILOG)
@click.argument("tuned", type=FilePath(), metavar="TUNED")
@click.argument("base", type=FilePath(), metavar="BASE")
@click.option(
    "--rank", type=click.IntRange(min=1), default=64, metavar="N", help="Directions of a layer. Default: 64."
)
@click.option(
    "--conv-rank", type=click.IntRange(min=1), metavar="N", help="Resnets and samplers, too, with this rank."
)
@click.option("--te1/--no-te1", default=None, help="Text encoder 1. Default: if it changed beyond rounding.")
@click.option("--te2/--no-te2", default=None, help="Text encoder 2. Default: if it changed beyond rounding.")
@click.option("--exact", is_flag=True, help="Full decompositions instead of randomized ones; slow.")
@click.option("--pad-ranks", is_flag=True, help="The same rank in every layer, for old readers.")
@click.option("--keep-noise", is_flag=True, help="Keep directions that rounding alone explains.")
@common_options(dtype="fp16")
def extract_command(
    tuned: Path,
    base: Path,
    rank: int,
    conv_rank: int | None,
    te1: bool | None,
    te2: bool | None,
    exact: bool,
    pad_ranks: bool,
    keep_noise: bool,
    **options: Any,
) -> None:
    """A LoRA that turns BASE into TUNED, as far as its rank reaches."""
    from loralathe.cli.launch import launch
    from loralathe.cli.names import beside, stem
    from loralathe.recipes import Save, make_recipe

    settings = common(options)
    given: dict[str, int | bool | None] = {
        "rank": rank,
        "conv_rank": conv_rank,
        "te1": te1,
        "te2": te2,
        "exact": exact or None,
        "pad_ranks": pad_ranks or None,
        "keep_noise": keep_noise or None,
    }
    arguments = ", ".join(f"{name}={int(value)}" for name, value in given.items() if value is not None)
    ranks = f"r{rank}" + (f"c{conv_rank}" if conv_rank else "")
    file = settings.file or beside(tuned, f"{stem(tuned)}-{stem(base)}_{ranks}")
    recipe = make_recipe(
        inputs={"tuned": tuned, "base": base},
        steps={STEP: f"extract(tuned - base, {arguments})"},
        saves=[Save(STEP, file, settings.dtype)],
        where="the extraction",
    )
    launch(recipe, settings)
