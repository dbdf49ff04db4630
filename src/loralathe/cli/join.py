"""`lathe combine` and `lathe resize`: LoRAs into one, and a LoRA at another size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from loralathe.cli.merge import adapter_options, named_lists, take_specs, with_blocks
from loralathe.cli.options import FilePath, LatheCommand, common, common_options
from loralathe.cli.ranks import rank_arguments, rank_options
from loralathe.errors import InputError

F = TypeVar("F", bound=Callable[..., object])

COMBINE_EPILOG = """\b
Without a rank, energy, size or mode the result is exact: the factors stand side by side and
the ranks add up. With one, it is the best approximation of the sum; there are no cross terms.

\b
Examples:
  lathe combine hina.safetensors:0.7 style.safetensors:0.4 -o both.safetensors
  lathe combine hina.safetensors:0.7:INS style.safetensors:0.4:OUTALL --rank 32
  lathe combine hina.safetensors style.safetensors:-0.3 --energy 0.98 --metadata merge
"""
RESIZE_EPILOG = """\b
Examples:
  lathe resize hina.safetensors --rank 16
  lathe resize hina.safetensors --size 20MB
  lathe resize hina.safetensors --energy 0.95 --rank 64
  lathe resize hina.safetensors --dynamic-method sv_fro --dynamic-param 0.9
"""


def _metadata_option(default: str) -> Callable[[F], F]:
    return click.option(
        "--metadata",
        type=click.Choice(("new", "first", "merge", "all", "minimal")),
        metavar="NAME",
        default=default,
        help="new, first (the first LoRA's), merge (tags, too), all (of each, as JSON), "
        f"minimal (ss_ keys only). Default: {default}.",
    )


@click.command("combine", cls=LatheCommand, epilog=COMBINE_EPILOG, short_help="Several LoRAs into one.")
@click.argument("adapters", nargs=-1, required=True, metavar="ADAPTER…")
@rank_options("Default: exact.")
@adapter_options
@_metadata_option("new")
@common_options(dtype="fp16")
def combine_command(adapters: tuple[str, ...], metadata: str, **options: Any) -> None:
    """One LoRA that does what all ADAPTERs do together, at their strengths and blocks."""
    from loralathe.api.joining import combine_recipe
    from loralathe.cli.launch import launch

    ranks = rank_arguments(options)
    blocks, presets, missing = (options.pop(name) for name in ("blocks", "presets", "missing_blocks"))
    specs = take_specs(adapters, options)
    lists = named_lists(blocks)
    settings = with_blocks(common(options), presets, missing)
    recipe = combine_recipe(specs, ranks, lists, settings.file, settings.dtype, metadata)
    launch(recipe, settings)


@click.command("resize", cls=LatheCommand, epilog=RESIZE_EPILOG, short_help="A LoRA at another rank.")
@click.argument("lora", type=FilePath(), metavar="LORA")
@rank_options("One of --rank, --energy, --size and a mode is needed.")
@_metadata_option("first")
@common_options(dtype="fp16")
def resize_command(lora: Path, metadata: str, **options: Any) -> None:
    """LORA at another rank: the best approximation, from its factors alone."""
    from loralathe.api.joining import resize_recipe
    from loralathe.cli.launch import launch

    ranks = rank_arguments(options)
    if not ranks.keys() - {"conv_rank", "pad_ranks"} or "full" in ranks:
        raise InputError(
            "resize needs the new size",
            fix="add --rank 16, --energy 0.95, --size 20MB, or --mode with its number",
        )
    settings = common(options)
    launch(resize_recipe(lora, ranks, settings.file, settings.dtype, metadata), settings)
