"""`lathe extract`: a LoRA from the difference of two checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loralathe.cli.folders import folder_options
from loralathe.cli.options import FilePath, LatheCommand, Number, common_options, output_option, take_screen
from loralathe.cli.ranks import rank_options, take_ranks

EPILOG = """\b
The report shows for every block how much of the difference the LoRA keeps, how much lies beyond
its rank (cut off), how much is only the rounding of the files (rounding), and how much is in
layers that the LoRA does not have (left out): convolutions without --conv-rank or --conv, and
biases, norms and embeddings, which no LoRA holds. It ends with advice.

\b
With --energy or --size all layers share one budget. Then the files are read twice: first to find
out what each layer needs, then to write what fits.

\b
Examples:
  lathe extract tuned.safetensors base.safetensors
  lathe extract tuned.safetensors base.safetensors --rank 32 --conv-rank 16 -o hina.safetensors
  lathe extract tuned.safetensors base.safetensors --size 100MB
  lathe extract tuned.safetensors base.safetensors --energy 0.95 --rank 256 --conv
  lathe extract tuned.safetensors base.safetensors --mode ratio --linear-ratio 0.1
  lathe extract tuned.safetensors base.safetensors --no-te1 --no-te2 --dtype bf16
"""
FLAGS = ("conv", "exact", "keep_noise")
"""Arguments of extract() that are 1 where they are given."""


@click.command(
    "extract",
    cls=LatheCommand,
    section="LoRAs",
    short_help="Extract a LoRA from the difference of two checkpoints.",
    epilog=EPILOG,
)
@click.argument("tuned", type=FilePath(), metavar="TUNED")
@click.argument("base", type=FilePath(), metavar="BASE")
@rank_options(
    "Rank of each layer, and the most that --energy, --size or --mode may give it. Default: 64.",
    "Rank of 3×3 convolutions. Without it (or --conv) they are left out.",
)
@click.option("--conv", is_flag=True, help="Extract convolutions, too, at the rank of --rank.")
@click.option("--te1/--no-te1", default=None, help="Text encoder 1. Default: yes, if it changed.")
@click.option("--te2/--no-te2", default=None, help="Text encoder 2. Default: yes, if it changed.")
@click.option("--te3/--no-te3", default=None, help="T5, of Flux. Default: yes, if it changed.")
@click.option("--alpha", type=Number(), default=1.0, metavar="X", help="Multiply TUNED by X. Default: 1.")
@click.option("--beta", type=Number(), default=1.0, metavar="Y", help="Multiply BASE by Y. Default: 1.")
@click.option(
    "--min-diff",
    type=Number(),
    metavar="X",
    help="Leave out layers in which no number differs by more than X.",
)
@click.option("--exact", is_flag=True, help="Compute full decompositions. This is slow.")
@click.option("--keep-noise", is_flag=True, help="Also keep what rounding of the files alone could make.")
@click.option(
    "--metadata",
    type=click.Choice(("new", "minimal")),
    metavar="NAME",
    default="new",
    help="Metadata of the LoRA: new (what programs need, and the record of the recipe) or minimal (only "
    "ss_ keys). Default: new.",
)
@click.option("--no-metadata", "metadata", flag_value="minimal", help="The same as --metadata minimal.")
@output_option
@folder_options()
@common_options(dtype="fp16")
def extract_command(tuned: Path, base: Path, dry_run: bool, **options: Any) -> None:
    """Extract a LoRA that turns the checkpoint BASE into TUNED.

    The LoRA is the best one of its rank: no other keeps more of TUNED − BASE.
    """
    import loralathe
    from loralathe.cli.report import show_and_run

    ranks = take_ranks(options)
    encoders = {name: options.pop(name) for name in ("te1", "te2", "te3")}
    flags = {name: True for name in FLAGS if options.pop(name)}
    ranks |= {name: int(value) for name, value in (encoders | flags).items() if value is not None}
    ranks |= {} if options["min_diff"] is None else {"min_diff": options["min_diff"]}
    del options["min_diff"]
    screen = take_screen(options)
    prepared = loralathe.extract.prepare(tuned, base, ranks=ranks, progress=screen.progress(), **options)
    show_and_run(prepared, screen, dry_run)
