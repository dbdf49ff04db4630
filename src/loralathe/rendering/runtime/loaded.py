"""An adapter file on an open model: checked against its layers, factors fetched when first needed.

Of a kind whose change depends on the weights (DoRA, OFT, …) that change of the model's own weights takes the
place of the factors: it is worked out once for each layer, at strength 1, and takes the room of the weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from loralathe.adapters import (
    Adapter,
    AdapterModule,
    Fit,
    Mismatch,
    WholeWeight,
    fits,
    load_change,
    load_factors,
    open_adapter,
    require_fit,
)
from loralathe.errors import InputError, option
from loralathe.families import BIAS
from loralathe.lowrank import Factors, dense
from loralathe.rendering.loading import Model
from loralathe.rendering.runtime.layers import Change, Vector, Whole, cut, shaped_for
from loralathe.strengths import Strength, check_blocks, effective


class LoadedAdapter:
    """One adapter on one model. `modules`: canonical name → module, those that the model has.

    allow_unmatched: the others are left out; without it they may not have a strength, see `check`.
    """

    def __init__(self, path: str, model: Model, *, allow_unmatched: bool = False) -> None:
        self.path = path
        self._model = model
        self._adapter = open_adapter(path, model.family, with_weights=True)
        self._allow_unmatched = allow_unmatched
        fit = fit_to_model(self._adapter, model, lambda _: False)
        self.modules: Mapping[str, AdapterModule] = {module.name: module for module in fit.used}
        self._factors: dict[str, tuple[Change, ...]] = {}

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._adapter.metadata

    def check(self, strength: Strength) -> None:
        """InputError unless all modules that the strength does not make 0 have their layers in the model."""

        def is_idle(module: AdapterModule) -> bool:
            check_blocks(strength, [module])
            return effective(strength, module) == 0.0

        fit = fit_to_model(self._adapter, self._model, is_idle)
        if not self._allow_unmatched:
            self._require_encoders(is_idle)
        label = self._model.family.label
        require_fit(self._adapter, fit, label, allow_unmatched=self._allow_unmatched)
        check_blocks(strength, fit.used)

    def _require_encoders(self, is_idle: Callable[[AdapterModule], bool]) -> None:
        for reading in self._model.absent:
            own = [
                module
                for name, module in self._adapter.modules.items()
                if name.startswith(f"{reading.component}.") and not is_idle(module)
            ]
            if own:
                label = self._model.family.component(reading.component).label
                raise InputError(
                    f"{len(own)} of the LoRA's modules change the {label}, which no file holds",
                    where=self.path,
                    fix=f"name its file: {option('text_encoder', reading.file)}; "
                    f"{option('allow_unmatched', True)} leaves them out",
                )

    def raw_factors(self, name: str) -> Factors:
        """Those of a module as the file has them, alpha inside, in float32 on the CPU."""
        return load_factors(self._adapter, self.modules[name])

    def factors(self, name: str, device: torch.device) -> tuple[Change, ...]:
        """The factors of a module, its whole change, or the vector of a norm or bias, read once.

        One for each torch layer of the module, in the model's dtype.
        """
        if name not in self._factors:
            self._factors[name] = self._read(name, device)
        return self._factors[name]

    def _read(self, name: str, device: torch.device) -> tuple[Change, ...]:
        module, dtype = self.modules[name], self._model.dtype
        slices = self._model.modules[name.removesuffix(BIAS)].slices
        change: Change
        if module.needs_weight:
            values = self._change(name).to(device, dtype)
            change = Vector(values, scales=False) if len(values.shape) == 1 else Whole(values)
        else:
            raw = load_factors(self._adapter, module)
            if len(module.shape) == 1:
                change = Vector(dense(raw).to(device, dtype), scales=not name.endswith(BIAS))
            else:
                change = shaped_for(slices[0][0], raw, dtype, device)
        return tuple(cut(change, rows) for _, rows in slices)

    def _change(self, name: str) -> torch.Tensor:
        """The change of a layer's own weight, or bias, in its shape, at strength 1."""
        value = self._model.modules[name.removesuffix(BIAS)].tensor(name)
        weight = WholeWeight(value)
        make = load_change(self._adapter, self.modules[name], weight)
        return make(weight.rows(0, len(value)), range(len(value))).reshape(value.shape)

    def close(self) -> None:
        self._factors.clear()
        self._adapter.close()


def fit_to_model(adapter: Adapter, model: Model, is_idle: Callable[[AdapterModule], bool]) -> Fit:
    """Sort the adapter's modules by what the model's layers say. is_idle: those that need no layer."""
    used: list[AdapterModule] = []
    idle: list[AdapterModule] = []
    unmatched = list(adapter.unmatched)
    mismatched: list[Mismatch] = []
    for name, module in adapter.modules.items():
        place = model.modules.get(name.removesuffix(BIAS))
        if place is not None and name.endswith(BIAS) and not place.has_bias:
            place = None
        if place is not None and fits(module.shape, place.shape_of(name)):
            used.append(module)
        elif is_idle(module):
            idle.append(module)
        elif module.optional and place is None:
            continue
        elif place is not None:
            mismatched.append(Mismatch(module, place.shape_of(name)))
        elif not _left_out_by_loading(name, model):
            unmatched.append(module.raw_name)
    return Fit(tuple(used), tuple(unmatched), tuple(mismatched), idle=tuple(idle))


def _left_out_by_loading(name: str, model: Model) -> bool:
    """Layers of an encoder that its family never uses (SD 2's last one): an adapter may name them in vain."""
    for encoder in model.encoders:
        if encoder.reading.cut and name.startswith(encoder.reading.component + "."):
            depth = encoder.network.config.num_hidden_layers
            first, _, rest = name.partition(".layers.")
            return (bool(rest) and int(rest.split(".")[0]) >= depth) or first.endswith(".text_projection")
    return False
