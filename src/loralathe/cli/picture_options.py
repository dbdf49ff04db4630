"""Options that render, grid and blocks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from loralathe.cli.folders import FOLDERS, folder_options
from loralathe.cli.options import FilePath, Number, Whole, lists_option, preset_options, stack, take_screen
from loralathe.cli.screen import Screen

F = TypeVar("F", bound=Callable[..., object])

RANDOM_SEED = -1
MODEL = (
    "lora_dir", "checkpoint_dir", "embeddings", "lists", "presets", "element_presets", "missing_blocks",
    "device", "devices", "on", "comfyui", "webui", "dtype", "low_vram", "batch", "prediction",
    "text_encoder", "tokenizer", "hashes", "allow_unmatched",
)  # fmt: skip
"""Options of the model that the pictures share; all others are of the pictures."""


def take_model_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of how the model is opened, taken out of a command's options."""
    return {name: options.pop(name) for name in MODEL}


NOTES = "loralathe.notes"
"""Where a command's context keeps what --settings has to tell."""


class Profile:
    """The settings of a command, and where --save-settings wants them. Made before options are taken away."""

    def __init__(self, options: dict[str, Any]) -> None:
        from loralathe import SETTINGS

        self._file: Path | None = options.pop("save_settings")
        self._values = {name: options[name] for name in SETTINGS if name in options}
        self._force = bool(options.get("force"))

    def save(self, screen: Screen, *, dry_run: bool) -> None:
        """Write the profile, if it is asked for; called when the command knows that its options are right."""
        from loralathe import write_settings

        if self._file is None:
            return
        if dry_run:
            screen.note(f"{self._file} would be written")
        else:
            write_settings(self._file, self._values, force=self._force)


@contextmanager
def pictures_kept(folder: Path | None) -> Iterator[None]:
    """Ctrl-C says where finished pictures are."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"finished pictures are kept in {folder}; the same command goes on from there"
        raise KeyboardInterrupt(kept) from None


def take_picture_screen(options: dict[str, Any]) -> Screen:
    """The screen, on which it tells what --settings left out."""
    screen = take_screen(options)
    for text in click.get_current_context().meta.get(NOTES, ()):
        screen.note(text)
    return screen


def _from_settings(ctx: click.Context, param: click.Parameter, file: Path | None) -> None:
    """--settings: its values stand where nothing is typed."""
    from loralathe import read_settings

    if file is not None:
        found = read_settings(file)
        ctx.default_map = {**found.values}
        ctx.meta[NOTES] = found.notes


def picture_options(
    lists: str = "--blocks", *, short: Sequence[str] = ("--te",), elsewhere: bool = True
) -> Callable[[F], F]:
    """The options of the model and of one picture; `lists` is the flag that names a block list.

    short: other spellings of --text-encoder.  elsewhere: whether others may draw, too.
    """
    return stack([
        *_adapter_options(lists), *_settings_options(), *_picture_options(),
        *_hires_options(), *_machine_options(*short, elsewhere=elsewhere)
    ])  # fmt: skip


def _settings_options() -> list[Callable[[F], F]]:
    return [
        click.option(
            "--settings",
            type=FilePath(),
            metavar="FILE",
            is_eager=True,
            expose_value=False,
            callback=_from_settings,
            help="Take settings from a profile (.toml) or from a picture (.png); options that are typed win.",
        ),
        click.option(
            "--save-settings",
            type=FilePath(),
            metavar="FILE",
            help="Write the settings of this command into a profile (.toml).",
        ),
    ]


def _adapter_options(lists: str) -> list[Callable[[F], F]]:
    return [
        lists_option(lists, "lists"),
        preset_options,
        click.option(
            "--element-presets",
            type=FilePath(),
            metavar="FILE",
            help="A file of named element rules (elempresets.txt).",
        ),
    ]


def _picture_options() -> list[Callable[[F], F]]:
    whole = Whole(min=1)
    return [
        click.option(
            "--prompt",
            metavar="TEXT",
            help="The prompt, needed; it may hold <lora:…> tags, (emphasis:1.2), AND, …",
        ),
        click.option("--negative", default="", metavar="TEXT", help="Negative prompt."),
        click.option(
            "--seed",
            type=Whole(min=RANDOM_SEED),
            default=RANDOM_SEED,
            metavar="N",
            help="Seed; -1 draws one. Default: -1.",
        ),
        click.option(
            "--steps", type=whole, metavar="N", help="Sampling steps. Default: 20, or the family's own."
        ),
        click.option("--cfg", type=Number(), metavar="X", help="CFG scale. Default: 7, or the family's own."),
        click.option(
            "--guidance",
            type=Number(),
            metavar="X",
            help="The distilled guidance of Flux.1 dev. Default: 3.5.",
        ),
        click.option(
            "--sampler",
            metavar="NAME",
            help="Sampler, by A1111's name. Default: DPM++ 2M, or the family's own.",
        ),
        click.option(
            "--schedule",
            default="Automatic",
            metavar="NAME",
            help="Noise schedule: Karras, Exponential, … Default: the sampler's own.",
        ),
        click.option(
            "--size",
            metavar="WxH",
            help="Width and height. Default: what the model says, or 512x512, SDXL 1024x1024.",
        ),
        click.option("--vae", metavar="FILE", help="Use this VAE instead of the checkpoint's."),
        click.option("--clip-skip", type=whole, default=1, metavar="N", help="Clip skip. Default: 1."),
        click.option(
            "--styles", type=FilePath(), metavar="FILE", help="A file of styles: A1111's styles.csv."
        ),
        click.option(
            "--style",
            multiple=True,
            metavar="NAME",
            help="Put this style of --styles around the prompts; repeatable.",
        ),
    ]


def _hires_options() -> list[Callable[[F], F]]:
    return [
        click.option(
            "--hires", type=Number(), metavar="X", help="Hires fix: enlarge X times, in a second pass."
        ),
        click.option(
            "--hires-upscaler",
            default="Latent",
            metavar="NAME",
            help="How hires fix enlarges: Latent, Latent (nearest-exact), Lanczos, … Default: Latent.",
        ),
        click.option(
            "--hires-steps",
            type=Whole(min=0),
            default=0,
            metavar="N",
            help="Steps of the second pass; 0 is as many as --steps. Default: 0.",
        ),
        click.option(
            "--hires-denoising",
            type=Number(),
            default=0.7,
            metavar="X",
            help="How much the second pass makes anew, 0 to 1. Default: 0.7.",
        ),
    ]


def _elsewhere_options() -> list[Callable[[F], F]]:
    return [
        click.option(
            "--devices",
            default="",
            metavar="NAMES",
            help="One process for each of these: all (every GPU), cuda:0,cuda:1, or cpu,cpu.",
        ),
        click.option(
            "--on",
            default="",
            metavar="ADDRESS",
            help="Let others draw: comfyui://127.0.0.1:8188, a1111://127.0.0.1:7860 (Forge, too), ray, ray://HOST:10001.",
        ),
    ]


def _machine_options(*short: str, elsewhere: bool) -> list[Callable[[F], F]]:
    return [
        click.option(
            "--device",
            default="auto",
            metavar="NAME",
            help="Where pictures are made: auto, cpu, cuda, cuda:1, mps. Default: auto.",
        ),
        *(_elsewhere_options() if elsewhere else ()),
        click.option(
            "--comfyui",
            type=FilePath(),
            metavar="DIR",
            help="Folder of ComfyUI: its models are found by name; --on writes parts of LoRAs there."
            if elsewhere
            else "Folder of ComfyUI: its models are found by name.",
        ),
        click.option(
            "--webui",
            type=FilePath(),
            metavar="DIR",
            help="The same for A1111 or Forge: its folder.",
        ),
        click.option(
            "--dtype",
            type=click.Choice(["fp32", "fp16", "bf16"]),
            metavar="NAME",
            help="Compute in fp32, fp16 or bf16. Default: fp32 on the CPU, fp16 elsewhere.",
        ),
        click.option(
            "--low-vram",
            is_flag=True,
            help="Load one network at a time onto the device, and decode in tiles.",
        ),
        click.option(
            "--batch", type=Whole(min=1), metavar="N", help="Pictures made at once. Default: as many as fit."
        ),
        click.option(
            "--prediction",
            type=click.Choice(["epsilon", "v"]),
            metavar="NAME",
            help="What the model predicts, if the checkpoint does not say: epsilon or v.",
        ),
        click.option(
            "--text-encoder",
            *short,
            type=FilePath(),
            multiple=True,
            metavar="FILE",
            help="A text encoder that the checkpoint lacks, or a folder of ComfyUI or diffusers; repeatable.",
        ),
        click.option(
            "--tokenizer",
            type=FilePath(),
            metavar="FILE",
            help="tokenizer.json of a text encoder that is a language model, or a folder with it.",
        ),
        click.option(
            "--hash", "hashes", is_flag=True, help="Write hashes of the files into the pictures' infotext."
        ),
        click.option(
            "--allow-unmatched", is_flag=True, help="Leave out LoRA modules that have no place in the model."
        ),
        folder_options(*FOLDERS, "embeddings"),
        click.option("--dry-run", is_flag=True, help="Show what would be rendered, and stop."),
        click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout, text on stderr."),
        click.option("-q", "--quiet", is_flag=True, help="Show nothing but errors."),
    ]
