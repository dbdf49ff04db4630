"""An adapter file on an open model: checked against its layers, factors fetched when first needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from loralathe.adapters import (
    Adapter,
    AdapterModule,
    Fit,
    Mismatch,
    fits,
    load_factors,
    open_adapter,
    require_fit,
)
from loralathe.families import BIAS
from loralathe.lowrank import dense
from loralathe.rendering.loading import Model
from loralathe.rendering.runtime.layers import LowRank, Vector, shaped_for


class LoadedAdapter:
    """One adapter on one model. `modules`: canonical name → module, those that the model has."""

    def __init__(self, path: str, model: Model, *, allow_unmatched: bool = False) -> None:
        self.path = path
        self._model = model
        self._adapter = open_adapter(path, model.family)
        try:
            fit = fit_to_model(self._adapter, model)
            require_fit(self._adapter, fit, model.family.label, allow_unmatched=allow_unmatched)
        except BaseException:
            self._adapter.close()
            raise
        self.modules: Mapping[str, AdapterModule] = {module.name: module for module in fit.used}
        self._factors: dict[str, LowRank | Vector] = {}

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._adapter.metadata

    def factors(self, name: str, device: torch.device) -> LowRank | Vector:
        """The factors of a module, or the vector of a norm or bias, in the model's dtype; read once."""
        if name not in self._factors:
            self._factors[name] = self._read(name, device)
        return self._factors[name]

    def _read(self, name: str, device: torch.device) -> LowRank | Vector:
        module, dtype = self.modules[name], self._model.dtype
        raw = load_factors(self._adapter, module)
        if len(module.shape) == 1:
            return Vector(dense(raw).to(device, dtype), scales=not name.endswith(BIAS))
        return shaped_for(self._model.modules[name], raw, dtype, device)

    def close(self) -> None:
        self._factors.clear()
        self._adapter.close()


def fit_to_model(adapter: Adapter, model: Model) -> Fit:
    """Sort the adapter's modules by what the model's layers say."""
    used: list[AdapterModule] = []
    unmatched = list(adapter.unmatched)
    mismatched: list[Mismatch] = []
    for name, module in adapter.modules.items():
        layer = model.modules.get(name.removesuffix(BIAS))
        if layer is None or (name.endswith(BIAS) and getattr(layer, "bias", None) is None):
            if not _left_out_by_loading(name, model):
                unmatched.append(module.raw_name)
        elif fits(module.shape, shape := _shape(layer, name)):
            used.append(module)
        else:
            mismatched.append(Mismatch(module, shape))
    return Fit(tuple(used), tuple(unmatched), tuple(mismatched))


def _shape(layer: nn.Module, name: str) -> tuple[int, ...]:
    tensor: Any = layer.bias if name.endswith(BIAS) else layer.weight
    return tuple(tensor.shape)


def _left_out_by_loading(name: str, model: Model) -> bool:
    """Layers of an encoder that its family never uses (SD 2's last one): an adapter may name them in vain."""
    for encoder in model.encoders:
        if encoder.reading.cut and name.startswith(encoder.reading.component + "."):
            depth = encoder.network.config.num_hidden_layers
            first, _, rest = name.partition(".layers.")
            return (bool(rest) and int(rest.split(".")[0]) >= depth) or first.endswith(".text_projection")
    return False
