"""The options of pictures, grids and block studies: what they mean, and their defaults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from loralathe.api.arguments import Folders, PathLike
from loralathe.api.model_options import ModelKeywords
from loralathe.errors import InputError, option

if TYPE_CHECKING:
    from loralathe.likeness import Card
    from loralathe.rendering import Hires
    from loralathe.studies import Position, Scorer

RANDOM_SEED = -1
MOST_CELLS = 400
_SIZE = re.compile(r"\s*(\d+)\s*(?:[x×*]\s*(\d+)\s*)?", re.ASCII | re.IGNORECASE)
_POSITION = re.compile(r"\s*(\d+)\s*[,×x]\s*(\d+)\s*(?:[,×x]\s*(\d+)\s*)?", re.ASCII)


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
