"""From the options of a picture command to a request, the family, the block lists and a renderer."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.cli.render_options import RANDOM_SEED, PictureOptions
from loralathe.cli.screen import FlagSink, Screen
from loralathe.errors import InputError
from loralathe.progress import BarSink, Event, JsonSink, Progress, SilentSink, Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loralathe.families import Family
    from loralathe.rendering import ImageRequest, LocalRenderer
    from loralathe.rendering.model_cache import WeightsInMemory
    from loralathe.rendering.prepare import AdapterFolders
    from loralathe.strengths import AdapterUse


@dataclass(frozen=True)
class Lists:
    """The person's block lists and element rules by name."""

    blocks: Mapping[str, str]
    elements: Mapping[str, str]


class NoteSink:
    """Messages as notes on stderr; all else is dropped. For outputs that are no terminal."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def emit(self, event: Event) -> None:
        if event.kind == "message":
            self._screen.note(event.text)


def progress_of(screen: Screen) -> Progress:
    """Bars on a terminal, JSON lines with --json; elsewhere the messages, which tell what was left out."""
    if screen.as_json:
        return Progress(FlagSink(JsonSink(sys.stdout)))
    sink: Sink = SilentSink() if screen.quiet else BarSink() if sys.stderr.isatty() else NoteSink(screen)
    return Progress(FlagSink(sink))


def family_of(checkpoint: str) -> Family:
    """The family of a checkpoint file or a diffusers folder, from headers; InputError if none renders it."""
    from loralathe.rendering.families import family_of

    return family_of(checkpoint)


def lists_of(options: PictureOptions, screen: Screen) -> Lists:
    """--blocks, --presets and --element-presets; the command line wins over the file."""
    from loralathe.cli.launch import read_presets
    from loralathe.cli.merge import named_lists
    from loralathe.strengths import read_element_preset_file

    elements: dict[str, str] = {}
    if options.element_presets is not None:
        found = read_element_preset_file(options.element_presets)
        for problem in found.problems:
            screen.note(f"{options.element_presets.name}, {problem}")
        elements = dict(found.presets)
    return Lists(read_presets(screen, options.presets) | named_lists(options.blocks), elements)


def adapters_of(words: Sequence[str], options: PictureOptions) -> tuple[AdapterUse, ...]:
    """`hina.safetensors:0.7:te=0` or, with --lora-dir, `hina:0.7`."""
    from loralathe.rendering.prepare import AdapterFolders
    from loralathe.strengths import read_argument

    folders = AdapterFolders(options.lora_dir)
    uses = map(read_argument, words)
    return tuple(replace(use, file=str(_adapter_file(use, folders, bool(options.lora_dir)))) for use in uses)


def _adapter_file(use: AdapterUse, folders: AdapterFolders, named: bool) -> Path:
    from loralathe.adapters import shows_adapter
    from loralathe.tensorfiles import read_header

    file = use.path if use.path.is_file() or not named else folders.find(use.file)
    if not shows_adapter(read_header(file).tensors):
        raise InputError(
            "this is not an adapter",
            where=str(file),
            fix="one checkpoint comes first, adapters follow it; lathe inspect says what a file is",
        )
    return file


def check_family(file: str, family: Family) -> None:
    """InputError for an adapter of another family, from its header: models take long to load."""
    from loralathe.adapters import detect_adapter
    from loralathe.tensorfiles import read_header

    made_for = detect_adapter(read_header(file), file).families
    if family.id not in [one.id for one in made_for]:
        labels = " or ".join(one.label for one in made_for)
        raise InputError(
            f"this LoRA is for {labels}, the checkpoint is {family.label}",
            where=file,
            fix=f"use a LoRA made for {family.label}",
        )


def check_uses(request: ImageRequest, family: Family, options: PictureOptions, lists: Lists) -> None:
    """InputError for a tag whose adapter is nowhere, is for another family, or stands beside the prompt too,
    and for block weights and element rules that the family cannot have.

    For prompts that are rendered as they stand: in a grid's, search and replace may fill the name in.
    """
    from loralathe.rendering.prepare import AdapterFolders
    from loralathe.rendering.prompts import lift_tags
    from loralathe.strengths import require_counted_once, resolve, seeded_tokens

    folders = AdapterFolders(options.lora_dir)
    tagged = [replace(use, file=str(folders.find(use.file))) for use in lift_tags(request.prompt).adapters]
    for use in () if options.allow_unmatched else tagged:
        check_family(use.file, family)
    require_counted_once(request.adapters, tagged)
    for use in (*request.adapters, *tagged):
        tokens = seeded_tokens(request.seed, use.x)
        resolve(use, family, block_presets=lists.blocks, element_presets=lists.elements, tokens=tokens)


def request_of(
    checkpoint: str, adapters: tuple[AdapterUse, ...], family: Family, options: PictureOptions
) -> ImageRequest:
    """What all pictures have in common; a random seed stands as 0. Checks names, numbers and families."""
    from loralathe.rendering import ImageRequest
    from loralathe.rendering.families import how_drawn
    from loralathe.rendering.samplers import canonical_names

    for use in () if options.allow_unmatched else adapters:
        check_family(use.file, family)
    sampler, schedule = canonical_names(options.sampler, options.schedule)
    width, height = options.sides(how_drawn(family, checkpoint).side)
    return ImageRequest(
        checkpoint=checkpoint,
        vae=options.vae,
        prompt=options.prompt,
        negative=options.negative,
        seed=0 if options.seed == RANDOM_SEED else options.seed,
        steps=options.steps,
        cfg=options.cfg,
        sampler=sampler,
        schedule=schedule,
        width=width,
        height=height,
        clip_skip=options.clip_skip,
        adapters=adapters,
    )


@contextmanager
def renderer_of(
    options: PictureOptions,
    lists: Lists,
    progress: Progress,
    weights: WeightsInMemory | None = None,
) -> Iterator[LocalRenderer]:
    """The renderer on this machine, closed at the end."""
    from loralathe.rendering import LocalRenderer, Presets

    missing = None if options.missing_blocks is None else float(options.missing_blocks)
    with LocalRenderer(
        options.device,
        options.dtype,
        options.lora_dir,
        batch_size=options.batch,
        low_vram=options.low_vram,
        progress=progress,
        weights=weights,
        presets=Presets(lists.blocks, lists.elements, missing),
        prediction="v_prediction" if options.prediction == "v" else options.prediction,
        allow_unmatched=options.allow_unmatched,
        hashes=options.hashes,
    ) as renderer:
        yield renderer


def folder_name(checkpoint: str, request: ImageRequest, ending: str = "") -> Path:
    """`baseA+hina-grid`: a folder in the current one, named after the inputs."""
    from loralathe.rendering.prompts import lift_tags

    uses = (*request.adapters, *lift_tags(request.prompt).adapters)
    names = [Path(checkpoint).stem, *dict.fromkeys(Path(use.file).stem for use in uses)]
    clean = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "", "+".join(names)).strip(". ") or "pictures"
    return Path(clean[:80] + ending)


def need_libraries() -> None:
    """MachineError, with the way to install it, when Pillow or diffusers is missing."""
    from loralathe.rendering.machine import library

    library("PIL")
    library("diffusers")
