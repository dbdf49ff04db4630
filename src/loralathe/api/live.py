"""LoRAs on a model that another program holds in memory: what each of its weights gets added."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from loralathe.api.arguments import Folders, PathLike, Presets, block_presets, folders_of
from loralathe.api.picture_inputs import adapters_of

if TYPE_CHECKING:
    import torch

    from loralathe.adapters import Adapter, AdapterModule, Fit
    from loralathe.strengths import AdapterUse, Strength

__all__ = ["LiveModel", "LivePatch", "block_preset_names", "live_patches"]

LiveModel = Mapping[str, Sequence[int]]
"""Layers of a model as ComfyUI's LoRAs call them → shapes of their weights: `diffusion_model.out.2`, and
`diffusion_model.out.2.bias` for that of a bias."""


@dataclass(frozen=True, eq=False)
class _Term:
    """One LoRA's part in a change."""

    adapter: Adapter
    module: AdapterModule
    strength: float

    def added(self, weight: torch.Tensor) -> torch.Tensor:
        """strength · change(weight), fp32, in the weight's shape."""
        from loralathe.adapters import WholeWeight, delta, load_change, load_factors, widened
        from loralathe.lowrank import moved

        if self.module.needs_weight:  # kinds of this sort read their tensors on the CPU
            whole = WholeWeight(weight.cpu())
            make = load_change(self.adapter, self.module, whole)
            change = make(whole.rows(0, len(weight)), range(len(weight))).reshape(weight.shape)
            return self.strength * change.to(weight.device)
        factors = moved(load_factors(self.adapter, self.module), weight.device)
        shape = tuple(weight.shape)
        if math.prod(factors.shape) != math.prod(shape):
            factors = widened(factors, shape)
        return self.strength * delta(factors, shape)


@dataclass(frozen=True, eq=False)
class LivePatch:
    """What LoRAs change in one weight or bias, each at its own strength there."""

    layer: str
    terms: tuple[_Term, ...]

    def added(self, weight: torch.Tensor) -> torch.Tensor:
        """Σ strength · change, fp32, in the shape and on the device of the weight, which stays as it is.

        `weight` is the model's own, without LoRAs: what some kinds (DoRA, OFT, …) change depends on it.
        """
        import torch

        own = weight.detach().to(torch.float32)
        total = self.terms[0].added(own)
        for term in self.terms[1:]:
            total += term.added(own)
        return total

    def and_of(self, other: LivePatch) -> LivePatch:
        """Both on the same layer: one does not see what the other adds."""
        return LivePatch(self.layer, (*self.terms, *other.terms))


def live_patches(
    *adapters: PathLike | AdapterUse,
    model: LiveModel,
    blocks: Mapping[str, str] | None = None,
    presets: Presets | None = None,
    missing_blocks: Literal[0, 1] | None = None,
    allow_unmatched: bool = False,
    lora_dir: Folders = (),
) -> tuple[LivePatch, ...]:
    """What LoRAs add to a model in memory, layer by layer; layers that get nothing are left out.

    adapters: as for `merge`; they mean the same here, be they merged, rendered or added to a live model.
    model: see `LiveModel`;  blocks, presets: block lists by name, or a file of them.
    The files stay open as long as the patches are held: factors are read when they are used.

    Raises InputError for LoRAs that do not fit the model, and for block weights that it cannot have.
    """
    from loralathe.strengths import resolve

    lists = {**block_presets(presets), **(blocks or {})}
    found: dict[str, list[_Term]] = {}
    for use in adapters_of(adapters, folders_of(lora_dir)):
        adapter = _opened(use.file)
        strength = resolve(use, adapter.family, block_presets=lists, missing=missing_blocks)
        names = _layers(adapter, model)
        for module in _fitting(adapter, names, model, strength, allow_unmatched).used:
            if amount := _effective(strength, module):
                found.setdefault(names[module.name], []).append(_Term(adapter, module, amount))
    return tuple(LivePatch(layer, tuple(terms)) for layer, terms in found.items())


def _effective(strength: Strength, module: AdapterModule) -> float:
    from loralathe.strengths import effective

    return effective(strength, module)


def _opened(file: str) -> Adapter:
    """The adapter, closed when nothing refers to it any more."""
    import weakref

    from loralathe.adapters import open_adapter

    adapter = open_adapter(file, with_weights=True)
    weakref.finalize(adapter, adapter.file.close)
    return adapter


def _layers(adapter: Adapter, model: LiveModel) -> dict[str, str]:
    """Canonical name of a module → the model's layer, for those that the model has."""
    from loralathe.adapters import WRITTEN
    from loralathe.families import BIAS

    found: dict[str, str] = {}
    for name in adapter.modules:
        component, _, path = name.removesuffix(BIAS).partition(".")
        ending = BIAS if name.endswith(BIAS) else ""
        for raw, place in WRITTEN["comfyui"].names(adapter.family.component(component), path):
            if place.slot is None and not place.swapped and f"{raw}{ending}" in model:
                found[name] = f"{raw}{ending}"
    return found


def _fitting(
    adapter: Adapter, names: Mapping[str, str], model: LiveModel, strength: Strength, allow_unmatched: bool
) -> Fit:
    from loralathe.adapters import check_against, require_fit
    from loralathe.families import Module
    from loralathe.strengths import check_blocks
    from loralathe.tensorfiles import TensorSpec

    def is_idle(module: AdapterModule) -> bool:
        check_blocks(strength, [module])
        return _effective(strength, module) == 0.0

    modules = {
        name: Module(name, name.partition(".")[0], layer, None, False, None, "outside")
        for name, layer in names.items()
    }
    tensors = {layer: TensorSpec(layer, "F32", tuple(model[layer])) for layer in names.values()}
    fit = check_against(adapter, modules, tensors, is_idle)
    require_fit(adapter, fit, adapter.family.label, allow_unmatched=allow_unmatched)
    check_blocks(strength, fit.used)
    return fit


def block_preset_names(presets: Presets | None = None) -> tuple[str, ...]:
    """Names of block lists: the person's, then those that some family has built in."""
    from loralathe.families import FAMILIES
    from loralathe.strengths import builtin_names

    every: Iterable[str] = (name for family in FAMILIES for name in builtin_names(family))
    return tuple(dict.fromkeys((*block_presets(presets), *every)))
