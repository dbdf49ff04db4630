"""The options of pictures, grids and block studies: what they mean, their defaults, and how they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from loralathe.api.arguments import Folders, PathLike, Presets, folders_of
from loralathe.api.programs import program_folders
from loralathe.errors import InputError, Value, did_you_mean, option

if TYPE_CHECKING:
    from loralathe.likeness import Card
    from loralathe.progress import Progress
    from loralathe.rendering import Hires
    from loralathe.rendering.loading import PartFiles
    from loralathe.studies import Position, Scorer

RANDOM_SEED = -1
MOST_CELLS = 400
_SIZE = re.compile(r"\s*(\d+)\s*(?:[x×*]\s*(\d+)\s*)?", re.ASCII | re.IGNORECASE)
_POSITION = re.compile(r"\s*(\d+)\s*[,×x]\s*(\d+)\s*(?:[,×x]\s*(\d+)\s*)?", re.ASCII)
SCORERS = ("identity", "prompt", "family", "none")


@dataclass(frozen=True)
class ModelOptions:
    """How a model is opened and where it runs.

    device:   auto, cpu, cuda, cuda:1, mps;  dtype: None is fp32 on the CPU and fp16 elsewhere.
    devices:  a process for each, in place of `device`: "all" GPUs, "cuda:0,cuda:1", "cpu,cpu".
    on:       others in place of this process: "comfyui://host:port", "a1111://host:port", "ray".
    comfyui, webui: folder of that program on this machine: its models are found, LoRAs written for it.
    low_vram: networks come to the device in turn, transformers block by block
    batch: pictures at once, None is what fits.
    prediction: epsilon or v, where the checkpoint does not say.
    text_encoder: files of those that the checkpoint lacks, or folders with them (ComfyUI's, diffusers').
    tokenizer: tokenizer.json of a text encoder that is a language model, or a folder with it.
    hashes:   the pictures' infotext has hashes of the files.
    lora_dir, checkpoint_dir: folders in which files are found by name, besides the current one.
    embeddings: folders of textual-inversion embeddings, which prompts name by their files' names.
    lists, presets, element_presets: block lists by name, a file of them, and a file of element rules.
    missing_blocks: weight of blocks that a list lacks; None makes them an error.
    allow_unmatched: leave out modules of a LoRA that have no place in the model.
    """

    device: str = "auto"
    devices: str = ""
    on: str = ""
    comfyui: PathLike | None = None
    webui: PathLike | None = None
    dtype: Literal["fp32", "fp16", "bf16"] | None = None
    low_vram: bool = False
    batch: int | None = None
    prediction: Literal["epsilon", "v"] | None = None
    text_encoder: Folders = ()
    tokenizer: PathLike | None = None
    hashes: bool = False
    lora_dir: Folders = ()
    checkpoint_dir: Folders = ()
    embeddings: Folders = ()
    lists: Mapping[str, str] = field(default_factory=dict)
    presets: Presets | None = None
    element_presets: PathLike | None = None
    missing_blocks: Literal[0, 1] | None = None
    allow_unmatched: bool = False
    progress: Progress | None = None

    @property
    def part_files(self) -> PartFiles:
        """What the person names beside the checkpoint."""
        from loralathe.rendering.loading import PartFiles

        return PartFiles(
            folders_of(self.text_encoder), None if self.tokenizer is None else Path(self.tokenizer)
        )

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where LoRAs are found by name."""
        return (*folders_of(self.lora_dir), *self._of_programs("loras"))

    @property
    def checkpoint_folders(self) -> tuple[Path, ...]:
        """Where checkpoints are found by name."""
        return (*folders_of(self.checkpoint_dir), *self._of_programs("checkpoints"))

    def _of_programs(self, kind: str) -> tuple[Path, ...]:
        return (
            *program_folders("comfyui", self.comfyui, kind),
            *program_folders("webui", self.webui, kind),
        )


class ModelKeywords(TypedDict, total=False):
    """The fields of `ModelOptions`."""

    device: str
    devices: str
    on: str
    comfyui: PathLike | None
    webui: PathLike | None
    dtype: Literal["fp32", "fp16", "bf16"] | None
    low_vram: bool
    batch: int | None
    prediction: Literal["epsilon", "v"] | None
    text_encoder: Folders
    tokenizer: PathLike | None
    hashes: bool
    lora_dir: Folders
    checkpoint_dir: Folders
    embeddings: Folders
    lists: Mapping[str, str]
    presets: Presets | None
    element_presets: PathLike | None
    missing_blocks: Literal[0, 1] | None
    allow_unmatched: bool
    progress: Progress | None


@dataclass(frozen=True)
class Picture:
    """What is in a picture.

    steps, cfg, sampler: None is the family's own;  guidance: the number that Flux.1 dev was distilled with.
    prompt: needed, be it ""; may carry <lora:…> tags, (emphasis:1.2), AND, …;  seed: −1 draws one.
    sampler, schedule: as A1111 calls them;  size: "832x1216", None is the family's own.
    vae: another than the checkpoint's;  clip_skip: 1 is the family's own layer.
    hires: hires fix, enlarging so many times; upscaler, steps (0: as the first pass) and denoising of it.
    styles: A1111's styles.csv;  style: names of styles in it, put around the prompts in this order.
    """

    prompt: str | None = None
    negative: str = ""
    seed: int = RANDOM_SEED
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    schedule: str = "Automatic"
    size: str | tuple[int, int] | None = None
    vae: PathLike | None = None
    clip_skip: int = 1
    guidance: float | None = None
    styles: PathLike | None = None
    style: Sequence[str] = ()
    hires: float | None = None
    hires_upscaler: str = "Latent"
    hires_steps: int = 0
    hires_denoising: float = 0.7

    @property
    def text(self) -> str:
        """The prompt; InputError where none is given, which is rarely meant."""
        if self.prompt is None:
            raise InputError(
                "there is no prompt",
                fix=f"say what the picture shows, {option('prompt', 'a girl, smiling')}; "
                f"an empty prompt is {option('prompt', '')}",
            )
        return self.prompt

    def texts(self) -> tuple[str, str]:
        """(prompt, negative prompt) with the styles. InputError for a style that is not in the file."""
        if not self.style:
            return self.text, self.negative
        from loralathe.rendering.styles import apply_styles, read_styles

        if self.styles is None:
            raise InputError(
                "no file of styles is given",
                where=option("style", self.style[0]),
                fix=f"name it: {option('styles', 'styles.csv')}",
            )
        return apply_styles(self.text, self.negative, self.style, read_styles(Path(self.styles)))

    def second_pass(self) -> Hires | None:
        """Hires fix, where it is asked for."""
        if self.hires is None:
            return None
        from loralathe.rendering import Hires

        return Hires(self.hires, self.hires_upscaler, self.hires_steps, self.hires_denoising)

    def sides(self, default: tuple[int, int]) -> tuple[int, int]:
        """(width, height); InputError for what is no size; the request says whether it is possible."""
        if not isinstance(self.size, str):
            return self.size or default
        match = _SIZE.fullmatch(self.size)
        if match is None:
            raise InputError(
                f"'{self.size}' is not a size",
                where=option("size"),
                fix=f"write width x height: {option('size', '832x1216')}",
            )
        return int(match[1]), int(match[2] or match[1])


class PictureKeywords(TypedDict, total=False):
    """The fields of `Picture`."""

    prompt: str
    negative: str
    seed: int
    steps: int | None
    cfg: float | None
    sampler: str | None
    schedule: str
    size: str | tuple[int, int] | None
    vae: PathLike | None
    clip_skip: int
    guidance: float | None
    styles: PathLike | None
    style: Sequence[str]
    hires: float | None
    hires_upscaler: str
    hires_steps: int
    hires_denoising: float


class RenderKeywords(PictureKeywords, total=False):
    """A picture, and where it goes."""

    output: PathLike | None
    count: int
    force: bool


class OpenRenderKeywords(RenderKeywords, ModelKeywords, total=False):
    """The same of a model that is opened for it."""


@dataclass(frozen=True)
class GridChoices:
    """What a grid is.

    x, y, z: axes as `NAME = VALUES`, empty for none;  output: the folder.
    max_cells: larger grids stop before they begin;  redo: cells "column,row[,sheet]" to render again.
    vary_seed: axes ("xy") along which the seed counts up.
    scorers:   beside the built-in ones: "identity=MODEL.onnx", "prompt=FOLDER", a `Scorer`, or "none".
    photo, face_box: the person meant, for identity, and where the face is: "left,top,right,bottom".
    card:      an identity card: how like the person each cell is.
    bleed:     measure what the LoRAs do to others: two more pictures for a cell, without the trigger words.
    reference: the cell that scores compare with, for each seed and prompt.
    vae_dir: folders whose VAEs an axis names.
    legend, margin, sub_grids, title, embed: how grid.png and grid.html look.
    force:     replace the study of other axes, files or another prompt in the folder.
    """

    x: str = ""
    y: str = ""
    z: str = ""
    output: PathLike | None = None
    max_cells: int | None = MOST_CELLS
    redo: Sequence[str] = ()
    vary_seed: str = ""
    scorers: Sequence[str | Scorer] = ()
    photo: Sequence[PathLike] = ()
    face_box: str | None = None
    card: PathLike | Card | None = None
    bleed: bool = False
    reference: str = "1,1"
    vae_dir: Folders = ()
    legend: bool = True
    margin: int = 4
    sub_grids: bool = False
    title: str = ""
    embed: bool = False
    force: bool = False

    @property
    def seed_axes(self) -> str:
        """`vary_seed`, checked."""
        if set(self.vary_seed.lower()) - set("xyz"):
            raise InputError(
                f"'{self.vary_seed}' names no axes",
                where=option("vary_seed"),
                fix="write x, y, z, or several: xy",
            )
        return self.vary_seed.lower()


class GridKeywords(PictureKeywords, total=False):
    """The fields of `GridChoices` and of `Picture`."""

    x: str
    y: str
    z: str
    output: PathLike | None
    max_cells: int | None
    redo: Sequence[str]
    vary_seed: str
    scorers: Sequence[str | Scorer]
    photo: Sequence[PathLike]
    face_box: str | None
    card: PathLike | Card | None
    bleed: bool
    reference: str
    vae_dir: Folders
    legend: bool
    margin: int
    sub_grids: bool
    title: str
    embed: bool
    force: bool


class OpenGridKeywords(GridKeywords, ModelKeywords, total=False):
    """The same of a model that is opened for it."""


@dataclass(frozen=True)
class BlocksChoices:
    """What a block analysis is.

    range:  "X,Y": the weight of the examined block, and of all others.
    blocks: 12ALL 17ALL 20ALL 26ALL, one of `lists`, or blocks; empty for those that the LoRA has.
    adapter: which one, where there are several;  te: each text encoder as a block of its own.
    seeds:  how many;  threshold: a channel counts when it changes by more.
    coarse: groups first, then only groups that matter, halved: those above coarse_floor of the strongest.
    card:   an identity card: what each block does to the likeness.
    color:  ground of the difference pictures;  swap: blocks as columns;  force: replace another study.
    """

    range: str = "0.5,1"
    blocks: str = ""
    adapter: str = ""
    te: bool = False
    seeds: int = 1
    threshold: int = 20
    coarse: bool = False
    coarse_floor: float = 0.1
    card: PathLike | Card | None = None
    color: Literal["black", "white"] = "black"
    swap: bool = False
    output: PathLike | None = None
    title: str = ""
    embed: bool = False
    force: bool = False


class BlocksKeywords(PictureKeywords, total=False):
    """The fields of `BlocksChoices` and of `Picture`."""

    range: str
    blocks: str
    adapter: str
    te: bool
    seeds: int
    threshold: int
    coarse: bool
    coarse_floor: float
    card: PathLike | Card | None
    color: Literal["black", "white"]
    swap: bool
    output: PathLike | None
    title: str
    embed: bool
    force: bool


class OpenBlocksKeywords(BlocksKeywords, ModelKeywords, total=False):
    """The same of a model that is opened for it."""


def parted(
    keywords: Mapping[str, Any], kind: type[ModelOptions | Picture]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the keywords that are fields of `kind`, the others)."""
    names = {one.name for one in fields(kind)}
    taken = {name: value for name, value in keywords.items() if name in names}
    return taken, {name: value for name, value in keywords.items() if name not in names}


REPEATED = (
    "device", "dtype", "low_vram", "prediction", "text_encoder", "tokenizer", "embeddings", "missing_blocks",
    "allow_unmatched",
)  # fmt: skip


def repeated(options: ModelOptions) -> dict[str, Value]:
    """The options that a command repeats to draw the same pixels: those that are not as usual."""
    usual = ModelOptions()
    found: dict[str, Value] = {}
    for name in REPEATED:
        value = getattr(options, name)
        if isinstance(value, (str, os.PathLike)) and name in ("text_encoder", "embeddings"):
            value = [value]
        if value in (getattr(usual, name), []):
            continue
        if isinstance(value, (list, tuple)):
            found[name] = [os.fspath(one) for one in value]
        else:
            found[name] = os.fspath(value) if isinstance(value, os.PathLike) else value
    return found


def position(text: str, name: str) -> Position:
    """`3,1` or `3,1,2`, counted from 1 as column, row and sheet → from 0; `name` is the option's."""
    match = _POSITION.fullmatch(text)
    numbers = [int(part) for part in match.groups("1")] if match else [0]
    if min(numbers) < 1:
        raise InputError(
            f"'{text}' is not a cell",
            where=option(name),
            fix=f"write column,row or column,row,sheet, counted from 1: {option(name, '3,1')}",
        )
    return numbers[0] - 1, numbers[1] - 1, numbers[2] - 1


def scorers_of(choices: GridChoices) -> tuple[Scorer, ...]:
    """The built-in scorers (without, if "none" is asked for) and those asked for; models are checked now."""
    from loralathe.studies import DEFAULT_SCORERS

    found: list[Scorer] = [] if "none" in choices.scorers else list(DEFAULT_SCORERS)
    for one in choices.scorers:
        if not isinstance(one, str):
            found.append(one)
        elif one != "none":
            found.append(_scorer(one, choices))
    for scorer in found:
        scorer.check()
    return tuple(found)


def card_of(choice: PathLike | Card | None) -> Card | None:
    """The card that is given, read if it is a file, and its models checked now."""
    if choice is None:
        return None
    from loralathe.likeness import read_card

    card = read_card(Path(choice)) if isinstance(choice, (str, os.PathLike)) else choice
    card.check()
    return card


def card_file(choice: PathLike | Card | None) -> tuple[str, str]:
    """Name and SHA-256 of the card's file; a card in memory has no hash, none has neither."""
    from loralathe.engine.record import IN_MEMORY
    from loralathe.tensorfiles import content_hash

    if not isinstance(choice, (str, os.PathLike)):
        return ("", "") if choice is None else (IN_MEMORY, "")
    return Path(choice).name, content_hash(choice)


def _scorer(word: str, choices: GridChoices) -> Scorer:
    from loralathe.likeness.preparation import parse_box
    from loralathe.studies import IdentityScorer, PromptScorer

    name, equals, path = word.partition("=")
    where = option("scorers", word)
    if name not in SCORERS:
        raise InputError(
            f"there is no scorer '{name}'",
            where=where,
            fix=did_you_mean(name, SCORERS)
            or "scorers are identity=MODEL.onnx, prompt=FOLDER, family, and none",
        )
    if not equals or not path:
        example = "identity=w600k_r50.onnx" if name == "identity" else f"{name}=clip-vit-base-patch32"
        raise InputError(f"the scorer '{name}' needs a model", where=where, fix=option("scorers", example))
    if name == "identity":
        return IdentityScorer(Path(path), tuple(map(Path, choices.photo)), parse_box(choices.face_box))
    return PromptScorer(Path(path))
