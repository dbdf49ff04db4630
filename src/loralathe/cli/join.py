"""`lathe combine` and `lathe resize`: LoRAs into one, and a LoRA at another size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loralathe.cli.merge import adapter_options, adapter_terms, named_lists, terms_name, with_blocks
from loralathe.cli.options import FilePath, LatheCommand, common, common_options
from loralathe.cli.ranks import call_text, rank_arguments, rank_options, ranks_label
from loralathe.errors import InputError

if TYPE_CHECKING:
    from loralathe.adapters import AdapterSpec
    from loralathe.cli.options import Common

F = TypeVar("F", bound=Callable[..., object])
STEP = "lora"

COMBINE_EPILOG = """\b
Without a rank, energy, size or mode the result is exact: the factors stand side by side and the ranks
add up. With one, it is the best approximation of the sum; nothing is squared, no cross terms.

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
    from loralathe.cli.names import InputNames, beside

    arguments = rank_arguments(options)
    specs, lists, settings = _adapters(adapters, options)
    names = InputNames({STEP, *lists, *(spec.blocks for spec in specs if spec.blocks)})
    formula = adapter_terms(names, specs)
    label = ranks_label(arguments)
    file = settings.file or beside(specs[0].path, terms_name(specs) + (f"_{label}" if label else ""))
    _launch(call_text("combine", formula, arguments), names.inputs, lists, file, metadata, settings)


@click.command("resize", cls=LatheCommand, epilog=RESIZE_EPILOG, short_help="A LoRA at another rank.")
@click.argument("lora", type=FilePath(), metavar="LORA")
@rank_options("One of --rank, --energy, --size and a mode is needed.")
@_metadata_option("first")
@common_options(dtype="fp16")
def resize_command(lora: Path, metadata: str, **options: Any) -> None:
    """LORA at another rank: the best approximation, from its factors alone."""
    from loralathe.cli.names import InputNames, beside, stem

    arguments = rank_arguments(options)
    if not arguments.keys() - {"conv_rank", "pad_ranks"} or "full" in arguments:
        raise InputError(
            "resize needs the new size",
            fix="add --rank 16, --energy 0.95, --size 20MB, or --mode with its number",
        )
    settings = common(options)
    names = InputNames({STEP})
    formula = call_text("resize", names.name(lora), arguments)
    file = settings.file or beside(lora, f"{stem(lora)}_{ranks_label(arguments)}")
    _launch(formula, names.inputs, {}, file, metadata, settings)


def _adapters(
    words: tuple[str, ...], options: dict[str, Any]
) -> tuple[list[AdapterSpec], dict[str, str], Common]:
    """Adapters with the options that hold for all of them; lists; common options."""
    from loralathe.cli.merge import take_specs

    blocks, presets, missing = (options.pop(name) for name in ("blocks", "presets", "missing_blocks"))
    specs = take_specs(words, options)
    return specs, named_lists(blocks), with_blocks(common(options), presets, missing)


def _launch(
    formula: str,
    inputs: Mapping[str, Path],
    lists: Mapping[str, str],
    file: Path,
    metadata: str,
    settings: Any,
) -> None:
    from loralathe.cli.launch import launch
    from loralathe.recipes import Save, make_recipe

    save = Save(STEP, file, settings.dtype, adapter_metadata=metadata)
    launch(
        make_recipe(inputs=inputs, steps={STEP: formula}, blocks=lists, saves=[save], where="the formula"),
        settings,
    )
