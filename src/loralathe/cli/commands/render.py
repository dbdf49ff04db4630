"""`lathe render`: one prompt to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe import counted
from loralathe.cli.estimates import estimate_rows
from loralathe.cli.judging_options import card_option
from loralathe.cli.language import Data
from loralathe.cli.likeness import show_likeness
from loralathe.cli.opening import open_pictures, recipe_options
from loralathe.cli.options import FilePath, PictureCommand, Whole
from loralathe.cli.picture_options import RANDOM_SEED, Profile, picture_options, take_picture_screen
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Facts

if TYPE_CHECKING:
    from loralathe import PreparedPictures

EPILOG = """\b
CHECKPOINT is one file or a diffusers folder. ADAPTER is PATH[:STRENGTH][:BLOCKS][:te=X][:unet=Y],
as in lathe merge; a name is enough. Tags in the prompt are added to them:
<lora:NAME:TE:UNET:lbw=LIST:lbwe=RULES:start=A:stop=B>.

\b
Examples:
  lathe render baseA.safetensors --prompt "a girl, smiling" --seed 1
  lathe render baseA.safetensors hina.safetensors:0.7:OUTALL --prompt "a girl" --count 4 -o hina
  lathe render baseA hina:0.7 --settings girl.png --seed 2 --save-settings mine.toml
  lathe render baseA.safetensors --lora-dir loras --prompt "a girl <lora:hina:0.7:lbw=OUTALL>"
  lathe render baseA.safetensors --prompt girl --sampler "DPM++ 2M" --size 832x1216 -o girl.png
  lathe render --recipe recommended.toml --prompt "a girl" --seed 1
"""


@click.command(
    "render",
    cls=PictureCommand,
    section="Pictures",
    short_help="Render pictures of a prompt, from a checkpoint and LoRAs.",
    epilog=EPILOG,
)
@click.argument("files", nargs=-1, type=str, metavar="CHECKPOINT [ADAPTER…]")
@click.option(
    "-o",
    "--output",
    type=FilePath(),
    metavar="PATH",
    help="A .png file, or a folder for several. Default: a folder here, named after the inputs.",
)
@click.option("--force", is_flag=True, help="Replace a picture that exists.")
@click.option("--count", type=Whole(min=1), default=1, metavar="N", help="How many pictures; seeds count up.")
@card_option("An identity card (lathe identity make): say how like the person the pictures are.")
@recipe_options("Render what a recipe makes, in memory, instead of a CHECKPOINT.")
@picture_options()
def render_command(files: tuple[str, ...], card: Path | None, dry_run: bool, **options: Any) -> None:
    """Render pictures of one prompt, from a checkpoint and LoRAs."""
    from loralathe import check_identity, read_card

    person = None if card is None else read_card(card)
    if person is not None:
        person.check()
    screen, profile = take_picture_screen(options), Profile(options)
    model, adapters = open_pictures(files, screen, options)
    with model:
        prepared = model.prepare_render(*adapters, **options)
        profile.save(screen, dry_run=dry_run)
        if dry_run:
            _show_plan(screen, prepared)
            return
        paths = prepared.run()
    for path in paths:
        screen.event("picture", file=path)
        screen.show(str(path))
    if card is not None and person is not None:
        show_likeness(screen, card, person, check_identity(person, paths, progress=screen.progress()))


def _second_pass(prepared: PreparedPictures) -> list[tuple[str, str]]:
    """A row about hires fix, where it is asked for."""
    request = prepared.options.request
    if (hires := request.hires) is None:
        return []
    steps = request.passes[-1].steps
    text = f"{hires.scale:g} times by {hires.upscaler}, {steps} steps, denoising {hires.denoising:g}"
    return [("hires fix", text)]


def _show_plan(screen: Screen, prepared: PreparedPictures) -> None:
    from loralathe import estimate

    options, request, plan = prepared.options, prepared.options.request, prepared.plan()
    for text in plan.issues:
        screen.note(text)
    if options.output.is_file() and not options.force:
        screen.note(f"{options.output} exists: replace it with --force")
    seed = "random" if options.seed == RANDOM_SEED else str(request.seed)
    found = estimate(prepared, plan)
    screen.event(
        "plan",
        request=request.to_json(),
        seed=options.seed,
        count=options.count,
        output=options.output,
        estimate=found,
    )
    rows = [
        ("checkpoint", f"{request.checkpoint} ({prepared.model.family.label})"),
        *([("VAE", request.vae)] if request.vae else []),
        *(("adapter", use) for use in plan.adapters),
        ("prompt", Data(plan.prompt)),
        *([("negative", Data(request.negative))] if request.negative else []),
        ("sampler", f"{request.sampler}, {request.schedule}, {request.steps} steps, CFG {request.cfg:g}"),
        *_second_pass(prepared),
        *([("clip skip", str(request.clip_skip))] if request.clip_skip > 1 else []),
        *estimate_rows(found),
        ("seed", seed + (f" and {options.count - 1} after it" if options.count > 1 else "")),
        ("into", str(options.output)),
    ]
    screen.show(heading(f"would render {counted(options.count, 'picture')}"), Facts(rows))
