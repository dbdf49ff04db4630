"""`lathe extract`: a LoRA from the difference of two checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loralathe.cli.options import FilePath, LatheCommand, Number, common, common_options
from loralathe.cli.ranks import rank_arguments, rank_options

EPILOG = """\b
The report tells, per block, what the LoRA holds of the difference (kept), what lies beyond its
rank (truncated), what rounding of the files explains (noise), and what no LoRA holds, such as
biases and norms (outside). With --energy or --size the ranks of all layers share one budget: two
passes, the first for the singular values.

\b
Examples:
  lathe extract tuned.safetensors base.safetensors
  lathe extract tuned.safetensors base.safetensors --rank 32 --conv-rank 16 -o hina.safetensors
  lathe extract tuned.safetensors base.safetensors --size 100MB
  lathe extract tuned.safetensors base.safetensors --energy 0.95 --rank 256 --conv
  lathe extract tuned.safetensors base.safetensors --mode ratio --linear-ratio 0.1
  lathe extract tuned.safetensors base.safetensors --no-te1 --no-te2 --dtype bf16
"""


@click.command("extract", cls=LatheCommand, epilog=EPILOG)
@click.argument("tuned", type=FilePath(), metavar="TUNED")
@click.argument("base", type=FilePath(), metavar="BASE")
@rank_options("Default: 64.")
@click.option("--conv", is_flag=True, help="Resnets and samplers, too; also with any --conv- option.")
@click.option("--te1/--no-te1", default=None, help="Text encoder 1. Default: if it changed beyond rounding.")
@click.option("--te2/--no-te2", default=None, help="Text encoder 2. Default: if it changed beyond rounding.")
@click.option("--te3/--no-te3", default=None, help="The same for T5, the second encoder of Flux.")
@click.option("--alpha", type=Number(), default=1.0, metavar="X", help="X times TUNED. Default: 1.")
@click.option("--beta", type=Number(), default=1.0, metavar="Y", help="less Y times BASE. Default: 1.")
@click.option(
    "--min-diff", type=Number(), metavar="X", help="Leave out layers where no number differs by more."
)
@click.option("--exact", is_flag=True, help="Full decompositions instead of randomized ones; slow.")
@click.option("--keep-noise", is_flag=True, help="Keep directions that rounding alone explains.")
@click.option("--no-metadata", is_flag=True, help="Only the ss_ keys that readers of LoRAs need; no record.")
@common_options(dtype="fp16")
def extract_command(
    tuned: Path,
    base: Path,
    conv: bool,
    te1: bool | None,
    te2: bool | None,
    te3: bool | None,
    alpha: float,
    beta: float,
    min_diff: float | None,
    exact: bool,
    keep_noise: bool,
    no_metadata: bool,
    **options: Any,
) -> None:
    """A LoRA that turns BASE into TUNED, as far as its rank reaches."""
    from loralathe.api.kinds import require_kinds
    from loralathe.api.recipes import extract_recipe
    from loralathe.cli.launch import launch

    arguments = rank_arguments(options)
    settings = common(options)
    flags = {"conv": conv, "exact": exact, "keep_noise": keep_noise}
    given = {"te1": te1, "te2": te2, "te3": te3} | {name: True for name, flag in flags.items() if flag}
    arguments |= {name: int(value) for name, value in given.items() if value is not None}
    if min_diff is not None:
        arguments["min_diff"] = min_diff
    require_kinds([tuned, base])
    metadata = "minimal" if no_metadata else "new"
    recipe = extract_recipe(
        tuned, base, arguments, settings.file, settings.dtype, alpha=alpha, beta=beta, metadata=metadata
    )
    launch(recipe, settings)
