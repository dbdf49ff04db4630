"""Adapters on a batch whose rows want different strengths: each row's strengths, and hooks for a while."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch.utils.hooks import RemovableHandle

from loralathe.families import BIAS, Family
from loralathe.rendering.loading import Model
from loralathe.rendering.runtime.layers import Change, Term, hook_of
from loralathe.rendering.runtime.loaded import LoadedAdapter
from loralathe.strengths import (
    NO_PRESETS,
    AdapterUse,
    Strength,
    effective,
    is_text_encoder,
    resolve,
    seeded_tokens,
)


@dataclass(frozen=True)
class Presets:
    """The person's block lists and element rules by name, and the weight of blocks that a list lacks."""

    blocks: Mapping[str, str] = field(default_factory=lambda: NO_PRESETS)
    elements: Mapping[str, str] = field(default_factory=lambda: NO_PRESETS)
    missing_blocks: float | None = None


def strength_of(use: AdapterUse, family: Family, presets: Presets, seed: int) -> Strength:
    """`use` on a family. R and U in a block list are drawn from the image's seed."""
    return resolve(
        use,
        family,
        block_presets=presets.blocks,
        element_presets=presets.elements,
        missing=presets.missing_blocks,
        tokens=seeded_tokens(seed ^ zlib.crc32(f"{use.file}:{use.blocks}".encode()), use.x),
    )


class Changes(Protocol):
    """Where the changes of an adapter's modules come from, such as a `LoadedAdapter`."""

    def factors(self, name: str, device: torch.device) -> tuple[Change, ...]:
        """One for each torch layer of the module, in the model's dtype."""
        ...


@dataclass(frozen=True, eq=False)
class Share:
    """One adapter on one row: the effective strength of every module, zeros left out."""

    adapter: Changes
    te: Mapping[str, float]
    unet: Mapping[str, float]

    @cached_property
    def te_key(self) -> tuple[tuple[str, float], ...]:
        """Equal for shares that act alike on the text encoders."""
        return tuple(self.te.items())

    def of(self, text_side: bool) -> Mapping[str, float]:
        return self.te if text_side else self.unet


def share_of(adapter: LoadedAdapter, strength: Strength) -> Share:
    """The effective strength of every module of the adapter; modules at 0 are left out and cost nothing.

    InputError for block lists and for modules that do not fit the model.
    """
    adapter.check(strength)
    te: dict[str, float] = {}
    unet: dict[str, float] = {}
    for name, module in adapter.modules.items():
        value = effective(strength, module)
        if value != 0.0:
            (te if is_text_encoder(name) else unet)[name] = value
    return Share(adapter, te, unet)


RowShares = Sequence[Share]
Terms = Mapping[str, Sequence[tuple[Term, ...]]]
"""Canonical name → of each adapter on it, a term for each torch layer that the module is."""


def terms_of_batch(
    rows: Sequence[RowShares], *, text_side: bool, device: torch.device
) -> dict[str, list[tuple[Term, ...]]]:
    """Canonical name → terms. A module that no row wants is absent; rows that do not want it are spared."""
    wanted: dict[str, dict[int, tuple[Changes, dict[int, float]]]] = {}
    for row, shares in enumerate(rows):
        for share in shares:
            for name, strength in share.of(text_side).items():
                _, by_row = wanted.setdefault(name, {}).setdefault(id(share.adapter), (share.adapter, {}))
                by_row[row] = by_row.get(row, 0.0) + strength  # one adapter named twice adds up
    return {
        name: [_terms(adapter, name, by_row, len(rows), device) for adapter, by_row in adapters.values()]
        for name, adapters in wanted.items()
    }


def _terms(
    adapter: Changes, name: str, by_row: Mapping[int, float], count: int, device: torch.device
) -> tuple[Term, ...]:
    places = sorted(by_row)
    strengths = torch.tensor([by_row[place] for place in places], device=device)
    rows = None if len(places) == count else torch.tensor(places, device=device)
    return tuple(Term(factors, rows, strengths, count) for factors in adapter.factors(name, device))


class Fitting:
    """Terms on a model's layers, inside a `with` block; the weights themselves are never touched.

    Hooks stay while the same terms are asked for again, so a sampler's steps share one fitting.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._fitted: Terms | None = None
        self._handles: list[RemovableHandle] = []

    def fit(self, terms: Terms) -> None:
        """From now on the layers add these terms, and no others, to their outputs."""
        if terms is self._fitted:
            return
        self.clear()
        for name, of_module in terms.items():
            place = self._model.modules[name.removesuffix(BIAS)]
            for number, (layer, _) in enumerate(place.slices):
                own = [terms[number] for terms in of_module]
                self._handles.append(layer.register_forward_hook(hook_of(own)))
        self._fitted = terms

    def clear(self) -> None:
        """The layers are as they were."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._fitted = None

    def __enter__(self) -> Fitting:
        return self

    def __exit__(self, *reason: object) -> None:
        self.clear()
