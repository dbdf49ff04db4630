"""`lathe combine`: LoRAs into one."""

from __future__ import annotations

from typing import Any

import click

from loralathe.cli.folders import folder_options
from loralathe.cli.options import (
    LatheCommand,
    adapter_metadata_option,
    adapter_options,
    common_options,
    output_option,
    take_screen,
)
from loralathe.cli.ranks import rank_options, take_ranks

EPILOG = """\b
Without --rank, --energy, --size or --mode the result is exact: the factors stand side by side and
the ranks add up. With one of them it is the best approximation of the sum.

\b
Examples:
  lathe combine hina.safetensors:0.7 style.safetensors:0.4 -o both.safetensors
  lathe combine hina.safetensors:0.7:INS style.safetensors:0.4:OUTALL --rank 32
  lathe combine hina.safetensors style.safetensors:-0.3 --energy 0.98 --metadata merge
"""


@click.command(
    "combine",
    cls=LatheCommand,
    section="LoRAs",
    short_help="Combine several LoRAs into one, exactly or at a rank.",
    epilog=EPILOG,
)
@click.argument("adapters", nargs=-1, required=True, metavar="ADAPTER…")
@rank_options(
    "Rank of each layer, and the most that --energy, --size or --mode may give it. Default: no limit, and "
    "nothing is lost.",
    "Rank of 3×3 convolutions. Default: that of --rank.",
)
@adapter_options
@adapter_metadata_option("new")
@output_option
@folder_options()
@common_options(dtype="fp16")
def combine_command(adapters: tuple[str, ...], dry_run: bool, **options: Any) -> None:
    """Write one LoRA that does what all ADAPTERs do together, at their strengths and blocks."""
    import loralathe
    from loralathe.cli.report import show_and_run

    ranks = take_ranks(options)
    screen = take_screen(options)
    prepared = loralathe.combine.prepare(*adapters, ranks=ranks, progress=screen.progress(), **options)
    show_and_run(prepared, screen, dry_run)
