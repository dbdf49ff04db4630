"""What the layers of a model read while pictures are sampled: the second moment of each layer's inputs.

Only rows that follow the prompt count, not those of the negative one. A convolution's input is that of one
pixel, its channels. Modules that read one tensor, as q, k and v do, share one moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from loralathe.lowrank.damping import Moment
from loralathe.rendering.latents import LatentRenderer, RenderSettings
from loralathe.rendering.loading import Model, Rows
from loralathe.rendering.model_cache import OpenModel
from loralathe.rendering.prepare import Prepared
from loralathe.rendering.sampling import OnStep
from loralathe.strengths import is_text_encoder

Hook = Callable[[nn.Module, tuple[Tensor, ...]], None]
REMEMBERED = 16
"""Inputs that are compared by identity: as many as a block has, so that a text's one is never forgotten."""


@dataclass(frozen=True, eq=False)
class Read:
    """What a layer reads. of_text: the prompt and nothing else: a layer of a text encoder, or of the network
    where it reads the encoded prompt as it is."""

    moment: Moment
    of_text: bool


@dataclass(eq=False)
class InputMoments:
    """Hooks on layers, inside a `with` block. names: the modules, by canonical name.

    follows: for each row of the next call, whether it counts; None: all rows do.
    """

    model: Model
    names: Sequence[str]
    follows: Sequence[bool] | None = None
    _leaders: dict[str, str] = field(default_factory=dict)
    _recent: deque[tuple[Tensor, str]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _sums: dict[str, Moment] = field(default_factory=dict)
    _handles: list[RemovableHandle] = field(default_factory=list)
    _context: Tensor | None = None
    _of_text: set[str] = field(default_factory=set)

    def __enter__(self) -> InputMoments:
        for name in self.names:
            layer = self.model.modules[name].slices[0][0]
            self._handles.append(layer.register_forward_pre_hook(self._hook(name)))
        return self

    def __exit__(self, *reason: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._recent.clear()

    @property
    def found(self) -> Mapping[str, Read]:
        """Of each module whose layer was called, on the CPU; until then sums stay where the layers are."""
        sums = {name: Moment(one.total.cpu(), one.count) for name, one in self._sums.items()}
        return {name: Read(sums[leader], leader in self._of_text) for name, leader in self._leaders.items()}

    def before(self, factors: Sequence[float], rows: Rows) -> None:
        """Rows at or below 0 do not count."""
        self.follows = [factor > 0 for factor in factors]
        self._context = rows.context

    def after(self, prediction: Tensor) -> None:
        return

    def _hook(self, name: str) -> Hook:
        def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            (x,) = inputs
            if self._leader(name, x) == name:
                moment = _moment(layer, x, self.follows)
                if self._context is None or x.data_ptr() == self._context.data_ptr():
                    self._of_text.add(name)
                before = self._sums.get(name)
                self._sums[name] = moment if before is None else before + moment

        return look

    def _leader(self, name: str, x: Tensor) -> str:
        """The module that counts this module's inputs, told when it is called first."""
        if name not in self._leaders:
            same = next((own for seen, own in self._recent if seen is x), name)
            self._leaders[name] = same
        leader = self._leaders[name]
        for place, (seen, _) in enumerate(self._recent):
            if seen is x:
                del self._recent[place]
                break
        self._recent.append((x, leader))
        return leader


def _moment(layer: nn.Module, x: Tensor, follows: Sequence[bool] | None) -> Moment:
    if follows is not None:
        if len(x) != len(follows):  # some networks put the tokens of all rows together
            x = x.reshape(len(follows), -1, *x.shape[1:])
        if not all(follows):
            x = x[torch.tensor(follows, device=x.device)]
    if isinstance(layer, nn.Conv2d):
        x = x.movedim(1, -1)
    flat = x.reshape(-1, x.shape[-1]).float()
    return Moment(flat.T @ flat, len(flat))


def gather_moments(
    opened: OpenModel,
    settings: RenderSettings,
    groups: Sequence[Sequence[Prepared]],
    names: Sequence[str],
    on_step: OnStep,
) -> dict[str, Read]:
    """See `LocalRenderer.input_moments`. Pictures are not decoded, and of texts alone nothing is sampled."""
    there = [name for name in names if name in opened.model.modules]
    with InputMoments(opened.model, [name for name in there if is_text_encoder(name)]) as texts:
        if texts.names:
            for group in groups:
                LatentRenderer(opened, settings).read_prompts(group)
    with InputMoments(opened.model, [name for name in there if not is_text_encoder(name)]) as images:
        renderer = LatentRenderer(opened, settings, watch=images)
        for one in (one for group in groups for one in group) if images.names else ():
            renderer.latents([one], on_step)
    return {**texts.found, **images.found}
