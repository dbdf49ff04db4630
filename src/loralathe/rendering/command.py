"""Render one prompt to files: options in, PNGs on disk out."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.errors import InputError, option
from loralathe.progress import Progress
from loralathe.rendering.request import MAX_SEED, ImageRequest, Renderer

if TYPE_CHECKING:
    from PIL.Image import Image

RANDOM_SEED = -1
MAX_COUNT = 10_000
"""Images of one run."""


@dataclass(frozen=True)
class RenderOptions:
    """One prompt to `count` images.

    request: all but the seed, which `seed` gives: fixed, or −1 for a random one; image i has seed + i.
    output:  a folder, or a file name ending in .png when there is one image.
    force:   replace files that exist.
    """

    request: ImageRequest
    output: Path
    seed: int = RANDOM_SEED
    count: int = 1
    force: bool = False


def requests_of(options: RenderOptions) -> list[ImageRequest]:
    """The images to render. Raises InputError for none, too many, and for seeds beyond 2^64 − 1."""
    if options.count < 1:
        raise InputError(f"the number of images is {options.count}", fix="ask for 1 or more")
    if options.count > MAX_COUNT:
        raise InputError(
            f"the number of images is {options.count}", fix=f"ask for {MAX_COUNT:,} at most, several times"
        )
    first = secrets.randbelow(2**32) if options.seed == RANDOM_SEED else options.seed
    if first + options.count - 1 > MAX_SEED:
        raise InputError(f"seeds after {first} exceed 2^64 − 1", fix="start with a smaller seed")
    return [replace(options.request, seed=first + number) for number in range(options.count)]


def render(renderer: Renderer, options: RenderOptions, progress: Progress | None = None) -> list[Path]:
    """Render and save PNGs with infotext, each as soon as it is finished; the paths in order of seed.

    Where files would go is checked before anything is rendered. Raises InputError.
    """
    from loralathe.rendering.infotext import save_png

    requests = requests_of(options)
    paths = paths_of(options, requests)

    def save(index: int, image: Image) -> None:
        save_png(image, paths[index])
        if progress is not None:
            progress.cell("render", index, len(paths), str(paths[index]), (f"seed {requests[index].seed}",))

    renderer.render(requests, save)
    return paths


def paths_of(options: RenderOptions, requests: Sequence[ImageRequest]) -> list[Path]:
    """One PNG a request, named by number and seed; numbering goes on after the files that are there."""
    output = options.output
    if output.suffix.lower() == ".png":
        if len(requests) > 1:
            raise InputError(
                f"{len(requests)} images do not fit into one file", where=str(output), fix="name a folder"
            )
        if output.exists() and not options.force:
            raise InputError(
                "the file exists", where=str(output), fix=f"another name, or {option('force', True)}"
            )
        output.parent.mkdir(parents=True, exist_ok=True)
        return [output]
    if output.exists() and not output.is_dir():
        raise InputError(
            "the output is neither a folder nor named .png", where=str(output), fix="end it in .png"
        )
    output.mkdir(parents=True, exist_ok=True)
    taken = [int(path.name[:5]) for path in output.glob("[0-9][0-9][0-9][0-9][0-9]-*.png")]
    first = max(taken, default=-1) + 1
    return [output / f"{first + i:05d}-{request.seed}.png" for i, request in enumerate(requests)]
