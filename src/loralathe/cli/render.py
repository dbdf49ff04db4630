"""`lathe render`: one prompt to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe.cli.options import FilePath, Whole
from loralathe.cli.render_options import (
    RANDOM_SEED,
    PictureCommand,
    PictureOptions,
    collect_picture_options,
    picture_options,
)
from loralathe.cli.screen import Screen

if TYPE_CHECKING:
    from loralathe.families import Family
    from loralathe.rendering import ImageRequest

EPILOG = """\b
CHECKPOINT is one file or a diffusers folder. ADAPTER is PATH[:STRENGTH][:BLOCKS][:te=X][:unet=Y],
as in lathe merge; with --lora-dir a name will do. Tags in the prompt come on top:
<lora:NAME:TE:UNET:lbw=LIST:lbwe=RULES:start=A:stop=B>.

\b
Examples:
  lathe render baseA.safetensors --prompt "a girl, smiling" --seed 1
  lathe render baseA.safetensors hina.safetensors:0.7:OUTALL --prompt "a girl" --count 4 -o hina
  lathe render baseA.safetensors --lora-dir loras --prompt "a girl <lora:hina:0.7:lbw=OUTALL>" \\
        --sampler "DPM++ 2M" --schedule Karras --size 832x1216 -o girl.png
"""


@click.command("render", cls=PictureCommand, epilog=EPILOG)
@click.argument("checkpoint", type=FilePath(), metavar="CHECKPOINT")
@click.argument("adapters", nargs=-1, metavar="[ADAPTER…]")
@click.option(
    "-o",
    "--output",
    type=FilePath(),
    metavar="PATH",
    help="A .png, or a folder for several. Default: a folder here, named after the inputs.",
)
@click.option("--force", is_flag=True, help="Replace a picture that exists.")
@click.option("--count", type=Whole(min=1), default=1, metavar="N", help="Pictures, seeds counting up.")
@picture_options()
def render_command(
    checkpoint: Path, adapters: tuple[str, ...], output: Path | None, force: bool, count: int, **options: Any
) -> None:
    """One prompt to pictures; no web page, no network."""
    from loralathe.cli.render_setup import (
        adapters_of,
        check_uses,
        family_of,
        folder_name,
        lists_of,
        need_libraries,
        progress_of,
        renderer_of,
        request_of,
    )

    chosen = collect_picture_options(options)
    screen = Screen(chosen.as_json, chosen.quiet)
    need_libraries()
    from loralathe.rendering.command import RenderOptions, render

    family = family_of(str(checkpoint))
    request = request_of(str(checkpoint), adapters_of(adapters, chosen), family, chosen)
    lists = lists_of(chosen, screen)
    check_uses(request, family, chosen, lists)
    target = output or folder_name(str(checkpoint), request)
    if chosen.dry_run:
        _show_request(screen, request, family, chosen, count, target)
        return
    progress = progress_of(screen)
    with renderer_of(chosen, lists, progress) as renderer:
        paths = render(renderer, RenderOptions(request, target, chosen.seed, count, force))
    for path in paths:
        screen.event("picture", file=path)
        screen.show(str(path))


def _show_request(
    screen: Screen,
    request: ImageRequest,
    family: Family,
    options: PictureOptions,
    count: int,
    target: Path,
) -> None:
    from loralathe.cli.layout import Facts
    from loralathe.cli.screen import heading
    from loralathe.cli.wording import plural
    from loralathe.rendering.prompts import lift_tags, told
    from loralathe.strengths import argument_text

    tagged = lift_tags(request.prompt)
    for text in told(tagged.issues):
        screen.note(text)
    seed = "random" if options.seed == RANDOM_SEED else str(request.seed)
    screen.event("plan", request=request.to_json(), seed=options.seed, count=count, output=target)
    uses = [argument_text(use) for use in (*request.adapters, *tagged.adapters)]
    rows = [
        ("checkpoint", f"{request.checkpoint} ({family.label})"),
        *([("VAE", request.vae)] if request.vae else []),
        *(("adapter", use) for use in uses),
        ("prompt", tagged.prompt.strip()),
        *([("negative", request.negative)] if request.negative else []),
        ("sampler", f"{request.sampler}, {request.schedule}, {request.steps} steps, CFG {request.cfg:g}"),
        *([("clip skip", str(request.clip_skip))] if request.clip_skip > 1 else []),
        ("size", f"{request.width}×{request.height}"),
        ("seed", seed + (f" and {count - 1} after it" if count > 1 else "")),
        ("into", str(target)),
    ]
    screen.show(heading(f"would render {plural(count, 'picture')}"), Facts(rows))
