"""`lathe merge`: LoRAs into a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import click

from loralathe.cli.options import (
    Common,
    FilePath,
    LatheCommand,
    Number,
    block_options,
    common,
    common_options,
)
from loralathe.cli.saving import saving_options, take_saving_options

if TYPE_CHECKING:
    from loralathe.strengths import AdapterUse

F = TypeVar("F", bound=Callable[..., object])

EPILOG = """\b
ADAPTER is PATH[:STRENGTH][:BLOCKS][:te=X][:unet=Y][:lbw=B][:lbwe=E], items in any order.
BLOCKS is a list (1,0,0,0.3,…), blocks by name (IN04=0.3,OUT00=1), or the name of a list:
yours (--blocks, --presets) or a built-in one (ALL, INS, MIDD, OUTALL, …).

\b
Examples:
  lathe merge baseA.safetensors hina.safetensors:0.7
  lathe merge baseA.safetensors hina.safetensors:0.7:te=0 style.safetensors:0.4:OUTALL
  lathe merge baseA.safetensors hina.safetensors --exclude "TE1 OUT03-OUT05 ff"
  lathe merge baseA.safetensors hina.safetensors:0.7:Face -o mix.safetensors \\
        --blocks Face=1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1
"""


def adapter_options(function: F) -> F:
    """Options that hold for every adapter of a command, block lists included."""
    options = [
        click.option(
            "--te", type=Number(), default=1.0, metavar="X", help="Multiply all text-encoder strengths."
        ),
        click.option("--unet", type=Number(), default=1.0, metavar="X", help="Multiply all U-Net strengths."),
        click.option(
            "--include",
            multiple=True,
            metavar="WORDS",
            help='Only these blocks and layers: "IN04-OUT02", "attn2 ff"; repeatable.',
        ),
        click.option("--exclude", multiple=True, metavar="WORDS", help="Not these blocks and layers."),
        block_options,
        click.option(
            "--elements",
            multiple=True,
            metavar="RULE",
            help="Element rule blocks:elements:value for every adapter, such as OUT03-OUT05:attn2:0.5; "
            "repeatable.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command("merge", cls=LatheCommand, epilog=EPILOG, short_help="Merge LoRAs into a checkpoint.")
@click.argument("base", type=FilePath(), metavar="BASE")
@click.argument("adapters", nargs=-1, required=True, metavar="ADAPTER…")
@adapter_options
@saving_options("BASE's name")
@common_options()
def merge_command(
    base: Path,
    adapters: tuple[str, ...],
    blocks: tuple[str, ...],
    presets: Path | None,
    missing_blocks: str | None,
    **options: Any,
) -> None:
    """BASE + strength * ADAPTER + …: effective strengths are linear, as in the web UIs' pictures."""
    from loralathe.api.kinds import require_kinds
    from loralathe.api.recipes import merge_recipe, with_saving
    from loralathe.cli.launch import launch

    lists = named_lists(blocks)
    choices = take_saving_options(options)
    specs = take_specs(adapters, options)
    settings = with_blocks(common(options), presets, missing_blocks)
    require_kinds([base], [spec.path for spec in specs], fix="the base comes first: lathe merge BASE ADAPTER")
    recipe = merge_recipe(base, specs, lists, settings.file, settings.dtype)
    launch(with_saving(recipe, choices), settings)


def take_specs(words: Sequence[str], options: dict[str, Any]) -> list[AdapterUse]:
    """The adapters that were typed, with the options that hold for all; these leave `options`."""
    from loralathe.api.recipes import adjusted, rules_for_all
    from loralathe.strengths import read_argument

    te, unet, elements, include, exclude = (
        options.pop(name) for name in ("te", "unet", "elements", "include", "exclude")
    )
    rules = rules_for_all(elements, include, exclude)
    return [adjusted(read_argument(text), rules, te, unet) for text in words]


def named_lists(words: Sequence[str]) -> dict[str, str]:
    """--blocks NAME=LIST words."""
    from loralathe.cli.names import split_assignments

    return split_assignments(words, "--blocks", "--blocks Face=1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1")


def with_blocks(settings: Common, presets: Path | None, missing: str | None) -> Common:
    """The preset file and --missing-blocks put into the common options."""
    from loralathe.cli.launch import read_presets
    from loralathe.cli.screen import Screen

    lists = read_presets(Screen(settings.as_json, settings.quiet), presets)
    weight = None if missing is None else cast(Literal[0, 1], int(missing))
    return replace(settings, presets=lists, missing_blocks=weight)
