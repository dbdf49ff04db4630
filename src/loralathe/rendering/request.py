"""The complete description of one image, and the one small protocol through which pictures are asked for.

Torch-free: a grid can be planned, stored and hashed without a renderer.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from loralathe.errors import InputError
from loralathe.rendering.hires import Hires, whole_steps
from loralathe.strengths import AdapterUse

if TYPE_CHECKING:
    from PIL.Image import Image

REQUEST_VERSION = 1
"""Written into every stored request; raised when a field changes its meaning: old cells are then redone."""

MAX_SEED = 2**64 - 1
MAX_SIDE = 8192
"""Pixels of a side: four times what web UIs offer."""
MAX_STEPS = 10_000
MAX_PROMPT = 20_000
"""Characters: some fifty times 77 tokens."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of the sampler: its steps, and the size of the picture in it."""

    steps: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image. Equal requests give equal images (one machine, one set of versions).

    checkpoint, vae: paths, or names of weights held in memory by the renderer.
    prompt:          may carry `<lora:…>` tags; `adapters` come on top of them.
    sampler, schedule: A1111's labels, e.g. "DPM++ 2M", "Karras"; "Automatic" is the sampler's own.
    clip_skip:       1 is the family's own layer; n ≥ 2 reads hidden state −n of every text encoder.
    width, height:   of the first pass;  hires: a second pass at a larger size, which `size` then is.
    guidance:        that a distilled network takes as a number; None is the family's own.
    embeddings:      files of the embeddings that the prompts name, see `with_embeddings`.
    Raises InputError for a size that is not a multiple of 8 or too large, for too long a prompt, for no
    or too many steps, and for a random seed.
    """

    checkpoint: str
    vae: str | None = None
    prompt: str = ""
    negative: str = ""
    seed: int = 0
    steps: int = 20
    cfg: float = 7.0
    sampler: str = "DPM++ 2M"
    schedule: str = "Automatic"
    width: int = 512
    height: int = 512
    clip_skip: int = 1
    adapters: tuple[AdapterUse, ...] = ()
    hires: Hires | None = None
    embeddings: tuple[str, ...] = ()
    guidance: float | None = None

    def __post_init__(self) -> None:
        for side, value in (("width", self.width), ("height", self.height)):
            if value < 8 or value % 8:
                near = max(8, round(value / 8) * 8)
                raise InputError(
                    f"the {side} {value} is not a multiple of 8",
                    fix=f"ask for {near}, the nearest that is",
                    about="size",
                )
            if value > MAX_SIDE:
                raise InputError(
                    f"the {side} {value} is more than {MAX_SIDE} pixels",
                    fix=f"ask for {MAX_SIDE} at most",
                    about="size",
                )
        for name, text, held in (
            ("prompt", self.prompt, "prompt"),
            ("negative prompt", self.negative, "negative"),
        ):
            if len(text) > MAX_PROMPT:
                raise InputError(
                    f"the {name} is {len(text):,} characters long; the most is {MAX_PROMPT:,}",
                    fix="the model sees little of so much: keep what matters",
                    about=held,
                )
        if self.steps < 1:
            raise InputError(
                f"{self.steps} steps make no image", fix="ask for at least 1 step", about="steps"
            )
        if self.steps > MAX_STEPS:
            raise InputError(
                f"{self.steps} steps are more than {MAX_STEPS}",
                fix=f"ask for {MAX_STEPS} at most",
                about="steps",
            )
        if self.clip_skip < 1:
            raise InputError(
                f"clip skip {self.clip_skip} does not exist",
                fix="1 is the last layer, 2 the one before it",
                about="clip_skip",
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise InputError(
                f"the seed {self.seed} is not a fixed seed of 0 to 2^64 − 1",
                fix="draw a random seed before making the request",
                about="seed",
            )
        self._check_guidance()
        if self.hires is not None:
            self._check_second_pass(self.hires)

    def _check_guidance(self) -> None:
        """Both numbers that guide; there is one name for 7 and 7.0."""
        if not math.isfinite(self.cfg):
            raise InputError(f"the CFG scale {self.cfg} is not a finite number", about="cfg")
        object.__setattr__(self, "cfg", float(self.cfg))
        if self.guidance is None:
            return
        if not math.isfinite(self.guidance):
            raise InputError(f"the guidance {self.guidance} is not a finite number", about="guidance")
        object.__setattr__(self, "guidance", float(self.guidance))

    def _check_second_pass(self, hires: Hires) -> None:
        second = self.passes[-1]
        if max(second.width, second.height) > MAX_SIDE:
            raise InputError(
                f"hires fix makes {second.width}×{second.height}, more than {MAX_SIDE} pixels",
                fix="a smaller scale, or a smaller size",
                about="hires",
            )
        if hires.denoising and whole_steps(second.steps, hires.denoising) > MAX_STEPS:
            raise InputError(
                f"the denoising strength {hires.denoising:g} is too small for {second.steps} steps",
                fix="fewer steps in the second pass, or 0, which only enlarges",
            )

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The runs of the sampler, one after the other. A second one that makes nothing anew has no steps."""
        first = Pass(self.steps, self.width, self.height)
        if (hires := self.hires) is None:
            return (first,)
        steps = (hires.steps or self.steps) if hires.denoising else 0
        return first, Pass(steps, hires.enlarged(self.width), hires.enlarged(self.height))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the finished picture."""
        return self.passes[-1].width, self.passes[-1].height

    @property
    def all_steps(self) -> int:
        return sum(one.steps for one in self.passes)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values, with the version."""
        found = {"version": REQUEST_VERSION, **asdict(self), "adapters": [asdict(a) for a in self.adapters]}
        for name in ("hires", "embeddings", "guidance"):  # keys of pictures without them stay what they were
            if getattr(self, name) in (None, ()):
                del found[name]
        return found

    def key(self) -> str:
        """64 hex digits that name this request: SHA-256 of its canonical JSON."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


OnImage = Callable[[int, "Image"], None]
"""Called with a request's index and its picture, as pictures finish (not in order)."""


class Renderer(Protocol):
    """Whatever turns requests into pictures: this machine's models, or a program elsewhere."""

    def render(self, requests: Sequence[ImageRequest], on_image: OnImage) -> None:
        """Render all requests in batches of the renderer's choice; call back once per request."""
        ...
