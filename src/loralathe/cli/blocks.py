"""`lathe blocks`: what each block of an adapter does, in pictures or in its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from loralathe.cli.options import FilePath, Share, Whole
from loralathe.cli.render_options import (
    RANDOM_SEED,
    PictureCommand,
    PictureOptions,
    collect_picture_options,
    picture_options,
)
from loralathe.cli.screen import Screen
from loralathe.errors import InputError

if TYPE_CHECKING:
    from loralathe.cli.render_setup import Lists
    from loralathe.rendering import ImageRequest
    from loralathe.studies import BlocksOptions

EPILOG = """\b
In pictures (LoRA Block Weight's Effective Block Analyzer): one block after the other takes the
first weight of --range, all others the second; each picture is measured against the one where all
have the second. n + 1 pictures a seed.

\b
In weights (--weights): instant, nothing is rendered.
  ‖Δ‖/‖W‖     size of the change beside the weights that it changes, at strength 1
  effective   the rank that counts: exp of the entropy of the singular values
  90 %, 99 %  singular values that hold so much of the energy, mean over the layers
  cosine, up, down   against a second adapter, as in lathe compare

\b
Examples:
  lathe blocks baseA.safetensors hina.safetensors --prompt "a girl" --range 0,1 --seeds 3
  lathe blocks baseA.safetensors hina.safetensors --prompt "a girl" --range 0.3,0.7 --blocks 12ALL
  lathe blocks baseA.safetensors hina.safetensors --prompt girl --blocks "BASE, IN04-IN08, MID"
  lathe blocks --weights baseA.safetensors hina.safetensors mio.safetensors
"""


@click.command("blocks", cls=PictureCommand, epilog=EPILOG)
@click.argument("checkpoint", type=FilePath(), metavar="CHECKPOINT")
@click.argument("adapters", nargs=-1, metavar="ADAPTER…")
@click.option("--weights", is_flag=True, help="Look at the weights only; a second adapter is compared.")
@click.option(
    "--range",
    "weight_range",
    default="0.5,1",
    metavar="X,Y",
    help="Weight of the examined block, of all others. Default: 0.5,1.",
)
@click.option(
    "--blocks",
    "wanted",
    default="",
    metavar="BLOCKS",
    help="12ALL 17ALL 20ALL 26ALL, a --list, or blocks. Default: those that the LoRA has.",
)
@click.option(
    "--threshold",
    type=Whole(0, 255),
    default=20,
    metavar="N",
    help="A channel counts when it changes by more. Default: 20.",
)
@click.option(
    "--color",
    type=click.Choice(["black", "white"]),
    default="black",
    help="Ground of the difference pictures. Default: black.",
)
@click.option("--swap", is_flag=True, help="Blocks as columns (change X-Y).")
@click.option(
    "--seeds",
    type=Whole(min=1),
    default=1,
    metavar="N",
    help="This many seeds; mean and interval. Default: 1.",
)
@click.option("--coarse", is_flag=True, help="Groups first, then only the groups that matter, halved.")
@click.option(
    "--coarse-floor",
    type=Share(),
    default=0.1,
    metavar="X",
    help="Groups under this part of the strongest stay whole. Default: 0.1.",
)
@click.option("--te", is_flag=True, help="Each text encoder as a block of its own.")
@click.option("--adapter", default="", metavar="NAME", help="Which adapter, where there are several.")
@click.option(
    "-o", "--out", type=FilePath(), metavar="FOLDER", help="Default: one here, named after the inputs."
)
@click.option("--title", default="", metavar="TEXT", help="Title of the page.")
@click.option("--embed", is_flag=True, help="One blocks.html with the pictures inside, to send around.")
@click.option("--threads", type=Whole(min=1), metavar="N", help="For --weights. Default: every core.")
@picture_options(lists="--list")
def blocks_command(checkpoint: Path, adapters: tuple[str, ...], weights: bool, **options: Any) -> None:
    """What each block of a LoRA does: rendered and measured, or told from its weights."""
    if weights:
        _from_weights(checkpoint, adapters, options)
        return
    from loralathe.cli.render_setup import lists_of, need_libraries, progress_of, renderer_of
    from loralathe.cli.show_blocks import show_blocks, show_blocks_plan

    chosen = collect_picture_options(options)
    screen = Screen(chosen.as_json, chosen.quiet)
    need_libraries()
    lists = lists_of(chosen, screen)
    study = blocks_options(checkpoint, adapters, lists, options)
    if chosen.dry_run:
        show_blocks_plan(screen, study)
        return
    from loralathe.studies import analyze_blocks

    progress = progress_of(screen)
    with renderer_of(chosen, lists, progress) as renderer:
        try:
            report = analyze_blocks(study, renderer, progress)
        except KeyboardInterrupt:
            kept = f"finished pictures are kept in {study.folder}; the same command goes on from there"
            raise KeyboardInterrupt(kept) from None
    show_blocks(screen, study, report)


def blocks_options(
    checkpoint: Path, adapters: tuple[str, ...], lists: Lists, options: dict[str, Any]
) -> BlocksOptions:
    """Everything about the analysis, from the command's words."""
    from loralathe.cli.render_setup import adapters_of, family_of, folder_name, request_of
    from loralathe.studies import BlocksOptions, gather_context
    from loralathe.studies.analyzer import fitting_list

    chosen = collect_picture_options(options)
    family = family_of(str(checkpoint))
    request = request_of(str(checkpoint), adapters_of(adapters, chosen), family, chosen)
    files = _files(request, chosen)
    _check_adapter(files, request, options["adapter"])
    folder = options["out"] or folder_name(str(checkpoint), request, "-blocks")
    encoders = tuple(name.upper() for name in family.encoder_blocks)
    return BlocksOptions(
        _seeded(request, folder, chosen.seed, chosen.dry_run),
        folder,
        adapter=options["adapter"],
        range=options["weight_range"],
        blocks=options["wanted"] or fitting_list(files, family),
        lists=lists.blocks,
        split_encoders=encoders if options["te"] else (),
        threshold=options["threshold"],
        background=cast(Literal["black", "white"], options["color"]),
        swap=options["swap"],
        seeds=options["seeds"],
        coarse=options["coarse"],
        coarse_floor=options["coarse_floor"],
        context=gather_context(
            family, lora_dirs=options["lora_dir"], presets=lists.blocks, element_presets=lists.elements
        ),
        title=options["title"],
        embed=options["embed"],
    )


def _files(request: ImageRequest, options: PictureOptions) -> list[Path]:
    """The adapters of the command and of the prompt's tags."""
    from loralathe.rendering.prepare import AdapterFolders
    from loralathe.rendering.prompts import lift_tags

    folders = AdapterFolders(options.lora_dir)
    return [folders.find(use.file) for use in (*request.adapters, *lift_tags(request.prompt).adapters)]


def _check_adapter(files: list[Path], request: ImageRequest, name: str) -> None:
    """One adapter is examined; where there are several, it is named or carries the mark XYZ."""
    if not files:
        raise InputError(
            "which LoRA is to be examined?",
            fix="give it after the checkpoint, or as a <lora:…> tag in the prompt",
        )
    if len(files) > 1 and not name and "XYZ" not in f"{request.prompt}{request.adapters}".upper():
        raise InputError(
            f"which of the {len(files)} LoRAs is to be examined?",
            fix=f"--adapter {' or --adapter '.join(file.stem for file in files)}",
        )


def _seeded(request: ImageRequest, folder: Path, seed: int, dry_run: bool) -> ImageRequest:
    """A random seed is drawn once for the folder, so that the same command goes on with the same pictures."""
    from loralathe.studies.store import SeedBook

    return replace(request, seed=SeedBook(folder).next()) if seed == RANDOM_SEED and not dry_run else request


def _from_weights(checkpoint: Path, adapters: tuple[str, ...], options: dict[str, Any]) -> None:
    from loralathe.cli.render_setup import adapters_of, progress_of
    from loralathe.cli.show_weights import show_weights
    from loralathe.studies.weights import study_weights

    chosen = collect_picture_options(options)
    if not 1 <= len(adapters) <= 2:
        raise InputError(
            f"--weights takes one adapter, or two to compare, not {len(adapters)}",
            fix="lathe blocks --weights baseA.safetensors hina.safetensors",
        )
    screen = Screen(chosen.as_json, chosen.quiet)
    files = [use.file for use in adapters_of(adapters, chosen)]
    found = study_weights(
        checkpoint,
        *files,
        allow_unmatched=chosen.allow_unmatched,
        progress=progress_of(screen),
        threads=options["threads"],
    )
    show_weights(screen, found)
