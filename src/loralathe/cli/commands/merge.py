"""`lathe merge`: LoRAs into a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from loralathe.cli.folders import folder_options
from loralathe.cli.options import (
    FilePath,
    LatheCommand,
    adapter_options,
    common_options,
    measured_option,
    output_option,
    saving_options,
    take_screen,
)

EPILOG = """\b
An ADAPTER is a LoRA file with its strengths and blocks: PATH[:STRENGTH][:BLOCKS][:te=X][:unet=Y].
STRENGTH is a number, 1 unless given. te and unet set the strengths of text encoder and U-Net
separately. BLOCKS is a list of weights (1,0,0,0.3,…), weights by block (IN04=0.3,OUT00=1), or the
name of a list: yours (--blocks, --presets) or a built-in one (ALL, INS, MIDD, OUTALL, …).

\b
Examples:
  lathe merge baseA.safetensors hina.safetensors:0.7
  lathe merge baseA hina:0.7 --checkpoint-dir models --lora-dir loras
  lathe merge baseA.safetensors hina.safetensors:0.7:te=0 style.safetensors:0.4:OUTALL
  lathe merge baseA.safetensors hina.safetensors --exclude "TE1 OUT03-OUT05 ff"
  lathe merge baseA.safetensors hina.safetensors:0.7:Face --blocks "Face=IN04=0.3,OUT00=0.5"
"""


@click.command(
    "merge",
    cls=LatheCommand,
    section="LoRAs",
    short_help="Merge LoRAs into a checkpoint, with strengths and block weights.",
    epilog=EPILOG,
)
@click.argument("base", type=FilePath(), metavar="BASE")
@click.argument("adapters", nargs=-1, required=True, metavar="ADAPTER…")
@adapter_options
@saving_options("BASE's name")
@measured_option
@output_option
@folder_options()
@common_options(only_sums=True)
def merge_command(base: Path, adapters: tuple[str, ...], dry_run: bool, **options: Any) -> None:
    """Merge LoRAs into the checkpoint BASE.

    The result is BASE + strength × LoRA, for each LoRA: what a picture shows at a strength, the
    merged checkpoint shows without the LoRA.
    """
    import loralathe
    from loralathe.cli.report import show_and_run

    screen = take_screen(options)
    prepared = loralathe.merge.prepare(base, *adapters, progress=screen.progress(), **options)
    show_and_run(prepared, screen, dry_run)
