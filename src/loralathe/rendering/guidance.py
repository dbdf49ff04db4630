"""Classifier-free guidance for a batch of different images: one network call for rows that fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from loralathe.rendering.encoding import Conditioning
from loralathe.rendering.loading import Model, Rows
from loralathe.rendering.runtime import Fitting, RowShares, Terms, terms_of_batch


class Watch(Protocol):
    """Looks at every call of the network."""

    def before(self, factors: Sequence[float], rows: Rows) -> None:
        """factors: what each row weighs in the guided prediction."""

    def after(self, prediction: torch.Tensor) -> None:
        """prediction: (rows, channels, h, w), before guidance."""


@dataclass(frozen=True, eq=False)
class Guide:
    """What steers one image.

    parts:    (weight, conditioning of every step) of each AND part
    negative: conditioning of every step, or None without guidance (CFG 1, a single part)
    shares:   its adapters in every step
    guidance: that the network takes as a number
    """

    cfg: float
    parts: tuple[tuple[float, Sequence[Conditioning]], ...]
    negative: Sequence[Conditioning] | None
    shares: Sequence[RowShares]
    guidance: float | None = None


@dataclass(frozen=True, eq=False)
class _Call:
    """Rows of one network call: contexts of one length. `owners` are the images of the rows, `images` on
    the device.
    """

    owners: tuple[int, ...]
    images: torch.Tensor
    factors: torch.Tensor
    context: torch.Tensor
    pooled: torch.Tensor | None
    guidance: torch.Tensor | None
    terms: Terms


class GuidedNetwork:
    """The network under the guides of a batch: (latents, time, step) → the guided prediction.

    Use it in a `with` block: adapters sit on the model's layers until its end. watch: see `Watch`.

    prediction = negative + Σ_j cfg·w_j·(part_j − negative); rows are doubled (or more) per image, and the
    factors of an image's rows sum up to 1.
    """

    def __init__(
        self,
        model: Model,
        guides: Sequence[Guide],
        width: int,
        height: int,
        device: Any,
        *,
        watch: Watch | None = None,
    ) -> None:
        self._model = model
        self._watch = watch
        self._guides = guides
        self._size = (width, height)
        self._device = device
        self._fitting = Fitting(model)
        self._made_for: tuple[object, ...] = ()
        self._calls: list[_Call] = []

    def __enter__(self) -> GuidedNetwork:
        return self

    def __exit__(self, *reason: object) -> None:
        self._fitting.clear()

    def patches(self, side: int) -> int:
        """How many squares of so many pixels make up a picture."""
        width, height = self._size
        return (width // side) * (height // side)

    def __call__(self, latents: torch.Tensor, time: float, step: int) -> torch.Tensor:
        """latents (batch, 4, h, w) as the network wants them scaled; the result in float32."""
        guided = torch.zeros_like(latents, dtype=torch.float32)
        dtype = self._model.dtype
        times = torch.tensor(time, device=self._device, dtype=torch.float32)
        for call in self._calls_at(step):
            self._fitting.fit(call.terms)
            rows = Rows(
                latents.to(dtype)[call.images],
                times,
                call.context,
                call.pooled,
                call.guidance,
                self._size,
            )
            if self._watch is not None:
                self._watch.before(call.factors.tolist(), rows)
            out = self._model.kind.predict(self._model.denoiser, rows)
            if self._watch is not None:
                self._watch.after(out)
            # In the order of the rows: `index_add_` on a GPU adds as they come, and AND has three an image.
            weighted = out.float() * call.factors[:, None, None, None]
            for image, row in zip(call.owners, weighted, strict=True):
                guided[image] += row
        return guided

    def _calls_at(self, step: int) -> list[_Call]:
        """The calls of a step; made anew only when a prompt or the set of active adapters changes."""
        rows = [row for image, guide in enumerate(self._guides) for row in _rows(image, guide, step)]
        shares = [self._guides[image].shares[step] for image, _, _ in rows]
        made_for = (
            *(id(conditioning) for _, _, conditioning in rows),
            *(id(share) for own in shares for share in own),
            *(len(own) for own in shares),
        )
        if made_for != self._made_for:
            self._made_for = made_for
            self._calls = self._make_calls(rows, shares)
        return self._calls

    def _make_calls(
        self, rows: list[tuple[int, float, Conditioning]], shares: list[RowShares]
    ) -> list[_Call]:
        """One call for all texts of one length: padding would change the attention."""
        by_length: dict[int, list[int]] = {}
        for place, (_, _, conditioning) in enumerate(rows):
            by_length.setdefault(conditioning.context.shape[0], []).append(place)
        return [
            self._make_call([rows[p] for p in places], [shares[p] for p in places])
            for places in by_length.values()
        ]

    def _make_call(self, rows: list[tuple[int, float, Conditioning]], shares: list[RowShares]) -> _Call:
        device, dtype = self._device, self._model.dtype
        pooled = [c.pooled for _, _, c in rows if c.pooled is not None]
        guidance = [self._guides[image].guidance for image, _, _ in rows]
        numbers = [one for one in guidance if one is not None]
        return _Call(
            owners=tuple(image for image, _, _ in rows),
            images=torch.tensor([image for image, _, _ in rows], device=device),
            factors=torch.tensor([factor for _, factor, _ in rows], device=device),
            context=torch.stack([c.context for _, _, c in rows]).to(dtype),
            pooled=torch.stack(pooled).to(dtype) if pooled else None,
            guidance=torch.tensor(numbers, device=device, dtype=torch.float32) if numbers else None,
            terms=terms_of_batch(shares, text_side=False, device=device),
        )


def _rows(image: int, guide: Guide, step: int) -> list[tuple[int, float, Conditioning]]:
    """(image, factor, conditioning) of every row that an image needs in a step."""
    if guide.negative is None:
        return [(image, weight, steps[step]) for weight, steps in guide.parts]
    factors = [guide.cfg * weight for weight, _ in guide.parts]
    rows = [(image, f, steps[step]) for f, (_, steps) in zip(factors, guide.parts, strict=True)]
    return [*rows, (image, 1.0 - sum(factors), guide.negative[step])]
