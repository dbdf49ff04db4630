"""Options that the picture commands share, and what they come to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from loralathe.cli.options import COMMON_NAMES, FilePath, LatheCommand, Number, Whole
from loralathe.errors import InputError

F = TypeVar("F", bound=Callable[..., object])

RANDOM_SEED = -1
PICTURE_NAMES = frozenset({
    "prompt", "negative", "seed", "count", "steps", "cfg", "sampler", "schedule", "size", "vae", "clip_skip",
})  # fmt: skip
MACHINE_NAMES = frozenset({"low_vram", "batch", "prediction"}) | COMMON_NAMES

_SIZE = re.compile(r"\s*(\d+)\s*(?:[x×*]\s*(\d+)\s*)?", re.ASCII | re.IGNORECASE)


class PictureCommand(LatheCommand):
    """A command whose help shows its own options first, then the picture's, then those of every command."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], "Picture": [], "Common options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                name = parameter.name
                title = "Picture" if name in PICTURE_NAMES else "Options"
                sections["Common options" if name in MACHINE_NAMES else title].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


@dataclass(frozen=True)
class PictureOptions:
    """The options of one picture and of the machine that makes it, as given."""

    prompt: str
    negative: str
    seed: int
    steps: int
    cfg: float
    sampler: str
    schedule: str
    size: str | None
    vae: str | None
    clip_skip: int
    lora_dir: tuple[Path, ...]
    blocks: tuple[str, ...]
    presets: Path | None
    element_presets: Path | None
    missing_blocks: str | None
    allow_unmatched: bool
    device: str
    dtype: Literal["fp32", "fp16", "bf16"] | None
    low_vram: bool
    batch: int | None
    prediction: Literal["epsilon", "v"] | None
    hashes: bool
    dry_run: bool
    as_json: bool
    quiet: bool

    def sides(self, default: int) -> tuple[int, int]:
        """(width, height); InputError for what is no size; the request says whether it is possible."""
        if self.size is None:
            return default, default
        match = _SIZE.fullmatch(self.size)
        if match is None:
            raise InputError(
                f"'{self.size}' is not a size", where="--size", fix="write width x height: --size 832x1216"
            )
        return int(match[1]), int(match[2] or match[1])


def collect_picture_options(options: Mapping[str, Any]) -> PictureOptions:
    """The options of `picture_options`, taken out of all that a command was given."""
    return PictureOptions(**{name: options[name] for name in PictureOptions.__dataclass_fields__})


def picture_options(lists: str = "--blocks") -> Callable[[F], F]:
    """The options of one picture and of the machine; collected again by `collect_picture_options`.

    lists: how the option that names a block list is called.
    """
    options = [*_adapter_options(lists), *_picture_options(), *_machine_options()]

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _adapter_options(lists: str) -> list[Callable[[F], F]]:
    return [
        click.option(
            "--lora-dir",
            multiple=True,
            type=FilePath(),
            metavar="DIR",
            help="Folder in which LoRAs are found by name; repeatable.",
        ),
        click.option(
            lists,
            "blocks",
            multiple=True,
            metavar="NAME=LIST",
            help="A named list of block weights; repeatable.",
        ),
        click.option(
            "--presets", type=FilePath(), metavar="FILE", help="Block lists by name (lbwpresets.txt)."
        ),
        click.option(
            "--element-presets",
            type=FilePath(),
            metavar="FILE",
            help="Element rules by name (elempresets.txt).",
        ),
        click.option(
            "--missing-blocks",
            type=click.Choice(["0", "1"]),
            help="Weight of blocks that a list lacks; without it they are an error.",
        ),
    ]


def _picture_options() -> list[Callable[[F], F]]:
    whole = Whole(min=1)
    return [
        click.option(
            "--prompt", default="", metavar="TEXT", help="May carry <lora:…> tags, (emphasis:1.2), AND, …"
        ),
        click.option("--negative", default="", metavar="TEXT", help="Negative prompt."),
        click.option(
            "--seed",
            type=Whole(min=RANDOM_SEED),
            default=RANDOM_SEED,
            metavar="N",
            help="-1 draws one. Default: -1.",
        ),
        click.option("--steps", type=whole, default=20, metavar="N", help="Default: 20."),
        click.option("--cfg", type=Number(), default=7.0, metavar="X", help="Default: 7."),
        click.option(
            "--sampler", default="DPM++ 2M", metavar="NAME", help="As A1111 calls it. Default: DPM++ 2M."
        ),
        click.option(
            "--schedule",
            default="Automatic",
            metavar="NAME",
            help="Karras, Exponential, … Default: the sampler's own.",
        ),
        click.option("--size", metavar="WxH", help="Default: 512x512, SDXL 1024x1024."),
        click.option("--vae", metavar="FILE", help="Another VAE than the checkpoint's."),
        click.option(
            "--clip-skip", type=whole, default=1, metavar="N", help="Default: 1, the family's own layer."
        ),
    ]


def _machine_options() -> list[Callable[[F], F]]:
    return [
        click.option(
            "--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps. Default: auto."
        ),
        click.option(
            "--dtype",
            type=click.Choice(["fp32", "fp16", "bf16"]),
            metavar="NAME",
            help="Compute in fp32, fp16 or bf16. Default: fp32 on the CPU, fp16 elsewhere.",
        ),
        click.option(
            "--low-vram", is_flag=True, help="Networks come to the device in turn; the VAE works in tiles."
        ),
        click.option("--batch", type=Whole(min=1), metavar="N", help="Pictures at once. Default: what fits."),
        click.option(
            "--prediction",
            type=click.Choice(["epsilon", "v"]),
            metavar="NAME",
            help="epsilon or v, where the checkpoint does not say.",
        ),
        click.option("--hash", "hashes", is_flag=True, help="Hashes of the files in the pictures' infotext."),
        click.option(
            "--allow-unmatched", is_flag=True, help="Leave out modules that have no place in the model."
        ),
        click.option("--dry-run", is_flag=True, help="Show what would be rendered, and stop."),
        click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout, text on stderr."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    ]
