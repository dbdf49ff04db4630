"""`lathe convert`: a checkpoint in another format, a LoRA under the names of another program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe import InputError, few, option
from loralathe.cli.folders import folder_options
from loralathe.cli.options import (
    FilePath,
    LatheCommand,
    Whole,
    common_options,
    output_option,
    saving_options,
    take_screen,
)
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Facts, counts, dtype_shares

if TYPE_CHECKING:
    from loralathe import ConvertedLora

EPILOG = """\b
Examples:
  lathe convert model-fp32.safetensors --dtype fp16
  lathe convert model.ckpt
  lathe convert model-Q8_0.gguf
  lathe convert sdxl-folder
  lathe convert model.safetensors --layout diffusers --like sdxl-folder -o model-folder
  lathe convert model.safetensors --bake-vae anime.vae.pt --discard "^model_ema\\."
  lathe convert hina.safetensors --to diffusers
  lathe convert hina-dora.safetensors --to peft --bake base.safetensors --rank 32
"""
TO = ("kohya", "peft", "diffusers", "comfyui", "original")
OF_CHECKPOINTS: dict[str, object] = {
    "vae": None, "discard": None, "metadata_from": "first", "metadata": {}, "config_from": "any",
    "layout": None, "shard_size": "10GB", "like": None,
}  # fmt: skip
"""Options that only checkpoints have → their defaults."""


@click.command(
    "convert",
    cls=LatheCommand,
    section="Checkpoints",
    short_help="Save a checkpoint in another format or dtype, or a LoRA for another program.",
    epilog=EPILOG,
)
@click.argument("a", type=FilePath(), metavar="FILE")
@click.option(
    "--to",
    type=click.Choice(TO),
    metavar="NAME",
    help="Names that a LoRA gets: kohya (A1111, Forge, ComfyUI, sd-scripts), peft or diffusers (diffusers' "
    "layers, with lora_A or lora.down), comfyui or original (the model's own layers behind diffusion_model, "
    "with lora_down or lora_A).",
)
@click.option(
    "--bake",
    type=FilePath(),
    metavar="BASE",
    help="The model of the LoRA. With it, what those names cannot say becomes a plain LoRA.",
)
@click.option(
    "--rank",
    type=Whole(min=1),
    metavar="N",
    help="Rank of that plain LoRA; a LoHa or LoKr needs no --bake. Default: the largest in the file.",
)
@click.option(
    "--family",
    metavar="NAME",
    help="Whose LoRA it is, where its names fit several: flux, sd35m, qwen-image, … --bake tells it, too.",
)
@click.option(
    "--layout",
    type=click.Choice(("original", "diffusers")),
    metavar="NAME",
    help="Of a checkpoint: original (one file) or diffusers (a folder: unet, text_encoder, vae).",
)
@click.option(
    "--shard-size",
    metavar="SIZE",
    default="10GB",
    help="With --layout diffusers: no file of the folder holds more. Default: 10GB.",
)
@click.option(
    "--like",
    type=FilePath(),
    metavar="FOLDER",
    help="With --layout diffusers: copy configs and tokenizers from this diffusers folder.",
)
@saving_options("A")
@output_option
@folder_options()
@common_options(only_sums=True)
def convert_command(
    a: Path,
    to: str | None,
    bake: Path | None,
    rank: int | None,
    family: str | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Write FILE as safetensors: a checkpoint, or with --to a LoRA.

    A checkpoint: in another dtype or layout, with another VAE, without some tensors. Marks and integers keep
    their type. A diffusers folder or shards become one file. A LoRA: under other names; what it changes
    stays the same, number by number.
    """
    import loralathe
    from loralathe.cli.report import show_and_run

    screen = take_screen(options)
    if to is None:
        if bake is not None or rank is not None or family is not None:
            raise InputError(
                f"{option('bake')}, {option('rank')} and {option('family')} are for LoRAs",
                fix=f"add {option('to', 'peft')}",
            )
        prepared = loralathe.convert.prepare(a, progress=screen.progress(), **options)
        show_and_run(prepared, screen, dry_run)
        return
    for name, default in OF_CHECKPOINTS.items():
        if options.pop(name) != default:
            fix = f"leave it out with {option('to', to)}"
            raise InputError(f"{option(name)} is for checkpoints", fix=fix)
    made = loralathe.convert_lora(
        a,
        to,
        bake=bake,
        rank=rank,
        family=family,
        dry_run=dry_run,
        progress=screen.progress(),
        **options,
    )
    _show(screen, made)


def _show(screen: Screen, made: ConvertedLora) -> None:
    from loralathe.cli.report import show_report

    screen.event(
        "converted", path=made.path, dialect=made.dialect, source=made.source, modules=made.modules,
        dtypes=made.dtypes, left_out=made.left_out,
    )  # fmt: skip
    if made.baking is not None:
        show_report(screen, made.baking)
    if made.left_out:
        screen.note(
            f"the embedding is left out, which {made.dialect} does not read in LoRAs: {few(made.left_out)}"
        )
    if screen.quiet:
        return
    rows = [("modules", counts((count, kind) for kind, count in made.modules.items()))]
    rows.append(("names", f"from {made.source} to {made.dialect}"))
    if made.dtypes:
        rows.append(("stored as", dtype_shares(made.dtypes)))
    screen.show(heading("would write" if made.path is None else f"→ {made.path}"), Facts(rows))
