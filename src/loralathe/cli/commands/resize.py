"""`lathe resize`: a LoRA at another rank or size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loralathe.cli.folders import folder_options
from loralathe.cli.options import (
    FilePath,
    LatheCommand,
    adapter_metadata_option,
    common_options,
    output_option,
    take_screen,
)
from loralathe.cli.ranks import rank_options, take_ranks

EPILOG = """\b
Examples:
  lathe resize hina.safetensors --rank 16
  lathe resize hina.safetensors --size 20MB
  lathe resize hina.safetensors --energy 0.95 --rank 64
  lathe resize hina.safetensors --dynamic-method sv_fro --dynamic-param 0.9
"""


@click.command(
    "resize",
    cls=LatheCommand,
    section="LoRAs",
    short_help="Change the rank or the size of a LoRA.",
    epilog=EPILOG,
)
@click.argument("lora", type=FilePath(), metavar="LORA")
@rank_options(
    "The new rank of each layer, and the most that --energy, --size or --mode may give it. One of these four "
    "is needed.",
    "The new rank of 3×3 convolutions. Default: that of --rank.",
)
@adapter_metadata_option("first")
@output_option
@folder_options()
@common_options(dtype="fp16")
def resize_command(lora: Path, dry_run: bool, **options: Any) -> None:
    """Write LORA at another rank: the best approximation, computed from the LoRA alone."""
    import loralathe
    from loralathe.cli.report import show_and_run

    ranks = take_ranks(options)
    screen = take_screen(options)
    prepared = loralathe.resize.prepare(lora, ranks, progress=screen.progress(), **options)
    show_and_run(prepared, screen, dry_run)
