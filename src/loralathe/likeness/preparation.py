"""What is done to a picture before a model sees it: cut, resized, its values moved and scaled.

How a model wants its pixels is known by a name, read from the preprocessor_config.json of its folder, or seen
in how its graph begins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loralathe.errors import InputError, did_you_mean, option
from loralathe.likeness.onnx_graph import does_its_own_scaling
from loralathe.strengths import parse_number
from loralathe.tensorfiles import check_is_file, read_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Fit = Literal["stretch", "crop"]
Triple = tuple[float, float, float]
Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
MOST_SIDE = 1024
"""Pixels. No model of faces or characters reads more."""


@dataclass(frozen=True)
class Preparation:
    """The usual one is ArcFace's: (x − 127.5) / 127.5 of RGB values 0 to 255.

    mean, std: of values 0 to 1, for red, green and blue.
    side: pixels of the square that the model reads; 0 for what the model says of itself.
    fit:  'stretch' makes any picture square; 'crop' resizes the short edge and takes the middle, as CLIP
    does. box:  the part of the picture that is looked at: left, top, right, bottom as shares of it.
    """

    mean: Triple = (0.5, 0.5, 0.5)
    std: Triple = (0.5, 0.5, 0.5)
    side: int = 0
    fit: Fit = "stretch"
    box: Box = WHOLE

    def cut(self, image: Image) -> Image:
        """The part in the box."""
        if self.box == WHOLE:
            return image
        w, h = image.size
        left, top, right, bottom = self.box
        x, y = min(round(left * w), w - 1), min(round(top * h), h - 1)
        return image.crop((x, y, max(round(right * w), x + 1), max(round(bottom * h), y + 1)))

    def values(self, image: Image, side: int) -> NDArray[np.float32]:
        """(3, side, side) as the model wants them."""
        import numpy as np
        from PIL import Image as Pictures

        rgb = image.convert("RGB")
        if self.fit == "crop":
            # The long edge is rounded down, and so is the place of the crop, as transformers does it.
            short = min(rgb.size)
            size = side * rgb.width // short, side * rgb.height // short
            rgb = rgb.resize(size, Pictures.Resampling.BICUBIC)
            x, y = (size[0] - side) // 2, (size[1] - side) // 2
            rgb = rgb.crop((x, y, x + side, y + side))
        elif rgb.size != (side, side):
            rgb = rgb.resize((side, side), Pictures.Resampling.BILINEAR)
        pixels = np.asarray(rgb, dtype=np.float32) / 255
        scaled = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))


CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
ARCFACE = Preparation()
PREPARATIONS: Mapping[str, Preparation] = {
    "arcface": ARCFACE,
    "pixels": Preparation(mean=(0, 0, 0), std=(1 / 255, 1 / 255, 1 / 255)),
    "clip": Preparation(CLIP_MEAN, CLIP_STD, side=224, fit="crop"),
    "ccip": Preparation(CLIP_MEAN, CLIP_STD, side=384),
    "imagenet": Preparation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), side=224, fit="crop"),
}
"""arcface: (x − 127.5) / 127.5.  pixels: 0 to 255 as they are.  clip, imagenet: the mean and deviation of
those training sets, the middle of the picture.  ccip: CLIP's values, the whole picture (imgutils'
metrics/ccip.py)."""
FILE = "preprocessor_config.json"


def preparation_of(model: Path, given: str | None) -> Preparation:
    """By a name, by a preprocessor_config.json or a folder with one; None: by the file beside the model,
    else as the model itself says. Raises InputError for other names and for files that say something else."""
    if given is None:
        beside = model.parent / FILE
        if beside.is_file():
            return read_preparation(beside)
        return PREPARATIONS["pixels"] if does_its_own_scaling(model) else ARCFACE
    if given in PREPARATIONS:
        return PREPARATIONS[given]
    path = Path(given)
    if path.is_dir():
        path /= FILE
    if path.suffix.casefold() != ".json":
        raise InputError(
            f"there is no preparation '{given}'",
            where=option("prepare"),
            fix=did_you_mean(given, PREPARATIONS)
            or "it is arcface, pixels, clip, ccip, imagenet, or a preprocessor_config.json",
        )
    check_is_file(path, "give a preprocessor_config.json")
    return read_preparation(path)


def read_preparation(path: Path) -> Preparation:
    """What a preprocessor_config.json of transformers says of size, crop, mean and deviation."""
    try:
        found = json.loads(read_text(path, "preprocessor_config.json"))
        scaled = found.get("do_rescale", True)
        factor = float(found.get("rescale_factor", 1 / 255)) * 255 if scaled else 255.0
        mean, std = _triple(found.get("image_mean"), 0.0), _triple(found.get("image_std"), 1.0)
        if not found.get("do_normalize", True):
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        side = _side(found.get("crop_size") or found.get("size"))
        size = found.get("size")
        cropped = found.get("do_center_crop") or (isinstance(size, dict) and "shortest_edge" in size)
        # (x · factor − mean) / std, where x is 0 to 1
        moved = tuple(value / factor for value in mean)
        spread = tuple(value / factor for value in std)
        if min(spread) <= 0:
            raise ValueError("a deviation of 0")
        return Preparation(_triple(moved, 0), _triple(spread, 1), side, "crop" if cropped else "stretch")
    except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, RecursionError) as error:
        raise InputError(
            "this file does not say how pictures are prepared",
            where=str(path),
            fix=f"give the preprocessor_config.json of the model, or a name: {option('prepare', 'clip')}",
        ) from error


def _triple(value: object, usual: float) -> Triple:
    if value is None:
        return usual, usual, usual
    if isinstance(value, Sequence) and len(value) == 3:
        a, b, c = (float(one) for one in value)
        return a, b, c
    raise ValueError("not three numbers")


def _side(value: object) -> int:
    if isinstance(value, dict):
        value = value.get("shortest_edge") or value.get("height")
    side = 0 if value is None else int(str(value))
    if not 0 <= side <= MOST_SIDE:
        raise ValueError("no such size")
    return side


def parse_box(text: str | None) -> Box:
    """`0.25,0,0.75,0.5`: left, top, right, bottom as shares of the picture; None is all of it."""
    if text is None:
        return WHOLE
    try:
        left, top, right, bottom = (parse_number(part) for part in text.split(","))
    except (InputError, ValueError):
        left = top = right = bottom = -1.0
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise InputError(
            f"'{text}' is not a box",
            where=option("face_box"),
            fix=f"left,top,right,bottom as shares of the picture: {option('face_box', '0.25,0,0.75,0.5')}",
        )
    return left, top, right, bottom
