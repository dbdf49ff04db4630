"""What the options of `lathe grid` come to: positions, scorers, the help's list of axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

import click

from loralathe.cli.render_options import PictureCommand
from loralathe.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from loralathe.studies.plan import Position
    from loralathe.studies.scorers import Scorer

Box = tuple[float, float, float, float]

_POSITION = re.compile(r"\s*(\d+)\s*[,×x]\s*(\d+)\s*(?:[,×x]\s*(\d+)\s*)?", re.ASCII)
SCORERS = ("identity", "prompt", "family", "none")
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class GridCommand(PictureCommand):
    """The help lists one example for every axis there is, read from the table of axes."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from loralathe.studies.axes import AXIS_KINDS

        with formatter.section("Axes, by example"):
            for line in in_two_columns([kind.example for kind in AXIS_KINDS] + ["M = -0.7..0.7 (+0.35)"]):
                formatter.write(f"  {line}\n")
        super().format_epilog(ctx, formatter)


def in_two_columns(items: Sequence[str]) -> list[str]:
    """The items, half of them beside the other half."""
    half = -(-len(items) // 2)
    width = max(map(_cells, items[:half])) + 4
    right = [*items[half:], ""]
    return [(left + " " * (width - _cells(left)) + right[i]).rstrip() for i, left in enumerate(items[:half])]


def _cells(text: str) -> int:
    """Columns of a terminal that the text takes: wide characters take two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def position(text: str, option: str) -> Position:
    """`3,1` or `3,1,2`, counted from 1 as column, row and sheet → from 0."""
    match = _POSITION.fullmatch(text)
    numbers = [int(part) for part in match.groups("1")] if match else [0]
    if min(numbers) < 1:
        raise InputError(
            f"'{text}' is no cell",
            where=option,
            fix=f"write column,row or column,row,sheet, counted from 1: {option} 3,1",
        )
    return numbers[0] - 1, numbers[1] - 1, numbers[2] - 1


def scorers(words: Sequence[str], photos: Sequence[Path], box: str | None) -> tuple[Scorer, ...]:
    """The built-in scorers (without `none`) and those asked for; their models are checked now."""
    from loralathe.studies.scorers import DEFAULT_SCORERS

    found: list[Scorer] = [] if "none" in words else list(DEFAULT_SCORERS)
    for word in words:
        if word == "family":
            from loralathe.demo import family_scorers

            found += family_scorers()
        elif word != "none":
            found.append(_scorer(word, tuple(photos), face_box(box)))
    for scorer in found:
        scorer.check()
    return tuple(found)


def _scorer(word: str, photos: tuple[Path, ...], box: Box) -> Scorer:
    from loralathe.studies.scorers import IdentityScorer, PromptScorer

    name, equals, path = word.partition("=")
    if name not in SCORERS:
        raise InputError(
            f"there is no scorer '{name}'",
            where=f"--scorer {word}",
            fix=did_you_mean(name, SCORERS)
            or "scorers are identity=MODEL.onnx, prompt=FOLDER, family, and none",
        )
    if not equals or not path:
        example = "identity=w600k_r50.onnx" if name == "identity" else f"{name}=clip-vit-base-patch32"
        raise InputError(
            f"the scorer '{name}' needs a model", where=f"--scorer {word}", fix=f"--scorer {example}"
        )
    if name == "identity":
        return IdentityScorer(Path(path), photos, box)
    return PromptScorer(Path(path))


def face_box(text: str | None) -> Box:
    """`0.25,0,0.75,0.5`: left, top, right, bottom as shares of the picture."""
    if text is None:
        return WHOLE
    from loralathe.strengths import parse_number

    try:
        left, top, right, bottom = (parse_number(part) for part in text.split(","))
    except (InputError, ValueError):
        left = top = right = bottom = -1.0
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise InputError(
            f"'{text}' is no box",
            where="--face-box",
            fix="left,top,right,bottom as shares of the picture: --face-box 0.25,0,0.75,0.5",
        )
    return left, top, right, bottom
