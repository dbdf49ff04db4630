"""`lathe merge`: LoRAs into a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from keyword import iskeyword
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
from loralathe.cli.saving import PLAIN, save_of, saving_options, taken

if TYPE_CHECKING:
    from loralathe.adapters import AdapterSpec
    from loralathe.recipes import Recipe

STEP = "merged"
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
    from loralathe.cli.launch import launch

    lists = named_lists(blocks)
    choices = taken(options)
    specs = take_specs(adapters, options)
    settings = with_blocks(common(options), presets, missing_blocks)
    require_kinds([base], [spec.path for spec in specs], fix="the base comes first: lathe merge BASE ADAPTER")
    launch(merge_recipe(base, specs, lists, settings, choices), settings)


def take_specs(words: Sequence[str], options: dict[str, Any]) -> list[AdapterSpec]:
    """The adapters that were typed, with the options that hold for all; these leave `options`."""
    from loralathe.adapters import parse_spec, selection_rules

    te, unet, elements, include, exclude = (
        options.pop(name) for name in ("te", "unet", "elements", "include", "exclude")
    )
    selection = selection_rules(include, exclude)
    rules = [*elements, *([selection] if selection else [])]
    specs = [_with_rules(parse_spec(text), rules) for text in words]
    return [replace(spec, te=_times(spec.te, te), unet=_times(spec.unet, unet)) for spec in specs]


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


def _with_rules(spec: AdapterSpec, rules: Sequence[str]) -> AdapterSpec:
    texts = [text for text in (spec.elements, *rules) if text]
    return replace(spec, elements=",".join(texts) or None)


def _times(one: float, other: float) -> float:
    """The product as people calculate it: 0.7 × 0.1 is 0.07, not 0.06999999999999999."""
    return float(Decimal(repr(one)) * Decimal(repr(other)))


def merge_recipe(
    base: Path,
    specs: Sequence[AdapterSpec],
    lists: dict[str, str],
    settings: Common,
    choices: Mapping[str, Any] = PLAIN,
) -> Recipe:
    """The command as a recipe: `base + 0.7*hina@Face`."""
    from loralathe.cli.names import InputNames, beside
    from loralathe.recipes import make_recipe

    names = InputNames({STEP, *lists, *(spec.blocks for spec in specs if spec.blocks)})
    formula = names.name(base) + "".join(_term(names.name(spec.path), spec) for spec in specs)
    file = settings.file or beside(base, _file_name(base, specs))
    return make_recipe(
        inputs=names.inputs,
        steps={STEP: formula},
        blocks=lists,
        saves=[save_of(STEP, file, settings.dtype, choices)],
        where="the merge",
    )


def _term(name: str, spec: AdapterSpec) -> str:
    """` + 0.7*hina@Face`, ` - hina`, ` + hina(te=0, unet=0.7)@"1,0,…"`."""
    arguments = []
    sign, strength = "+", ""
    if spec.te == spec.unet:
        sign = "-" if spec.unet < 0 else "+"
        strength = "" if abs(spec.unet) == 1 else f"{abs(spec.unet)!r}*"
    else:
        arguments = [f"te={spec.te!r}", f"unet={spec.unet!r}"]
    if spec.elements:
        arguments.append(f"elements={spec.elements!r}")
    call = f"({', '.join(arguments)})" if arguments else ""
    return f" {sign} {strength}{name}{call}{_blocks(spec.blocks)}"


def _blocks(blocks: str | None) -> str:
    """A list goes by its name where formulas can say it; anything else is quoted."""
    if blocks is None:
        return ""
    return f"@{blocks}" if blocks.isidentifier() and not iskeyword(blocks) else f"@{blocks!r}"


def _file_name(base: Path, specs: Sequence[AdapterSpec]) -> str:
    """`base+hina0.7@Face`; block lists go by their names only."""
    from loralathe.cli.names import stem

    parts = [stem(base)]
    for spec in specs:
        strength = f"{spec.unet:g}"
        if spec.te != spec.unet:
            strength += f"te{spec.te:g}"
        named = spec.blocks if spec.blocks and not set(spec.blocks) & set(",=") else None
        parts.append(f"{stem(spec.path)}{strength}" + (f"@{named}" if named else ""))
    return "+".join(parts)
