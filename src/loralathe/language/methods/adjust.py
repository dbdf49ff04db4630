"""SuperMerger's adjust: detail, contrast, brightness and colour from six tensors at the U-Net's two ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loralathe.errors import InputError, did_you_mean
from loralathe.families import FAMILIES, supported_families
from loralathe.language.expressions import LinearExpression, describe, method_expression
from loralathe.language.function import CallArguments, Function, text, value
from loralathe.language.method import Arguments, MakeRows, Method, ModuleAddress, Values
from loralathe.strengths import parse_number

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("IN", "OUT", "OUT2", "CONT", "BRI", "COL1", "COL2", "COL3")
"""The eight settings in SuperMerger's order: detail at the input, at the output, its last layer; latents."""

LATENTS = "unet.out.2.bias"
FACTORS = {
    "unet.input_blocks.0.0": ("IN", -0.01),
    "unet.input_blocks.0.0.bias": ("IN", 0.02),
    "unet.out.0": ("OUT", -0.01),
    "unet.out.0.bias": ("OUT", 0.02),
    "unet.out.2": ("OUT2", -0.01),
}
"""Tensor → (setting, change of the factor 1 for each unit of it)."""
LATENT_STEP = 0.02


@dataclass(frozen=True)
class Adjust(Method):
    """The change of the weights x: a multiple of x at five tensors, a constant at the last bias.

    settings: one number for each of NAMES;  directions: the family's `colours`.
    """

    settings: tuple[float, ...]
    directions: tuple[tuple[float, ...], ...]

    name = "adjust"

    def touches(self, place: ModuleAddress) -> bool:
        if place.name == LATENTS:
            return any(self._shift())
        return place.name in FACTORS and self._factor(place.name) != 0.0

    def _factor(self, name: str) -> float:
        setting, step = FACTORS[name]
        return self.settings[NAMES.index(setting)] * step

    def _shift(self) -> list[float]:
        """Of the four latent channels: contrast, then brightness and colours."""
        contrast, *colours = self.settings[NAMES.index("CONT") :]
        parts = zip(*self.directions, strict=True)
        return [LATENT_STEP * contrast] + [
            LATENT_STEP * sum(amount * part for amount, part in zip(colours, channel, strict=True))
            for channel in parts
        ]

    def prepare(self, tensor: Arguments) -> MakeRows:
        name = tensor.address.name
        if name != LATENTS:
            factor = self._factor(name)
            return lambda values, rows: values[0] * factor
        shift = self._shift()

        def make(values: Values, rows: range) -> Tensor:
            return values[0].new_tensor(shift)[rows.start : rows.stop].reshape(values[0].shape)

        return make


def adjust(call: CallArguments) -> LinearExpression:
    x = call.expression("x")
    if not x.is_weights:
        raise call.error(f"adjust() works on a model; this is {describe(x)}", "adjust(A + 0.7*lora, 'BRI=1')")
    family = call.caller.family()
    if family.colours is None:
        known = supported_families([other for other in FAMILIES if other.colours])
        raise call.error(f"adjust() is defined for {known} models, not for {family.label}")
    settings = _settings(call, call.text("settings") or "")
    return x + method_expression(Adjust(settings, family.colours), x)


def _settings(call: CallArguments, text: str) -> tuple[float, ...]:
    """`0,0,0,0,1` (up to eight numbers in SuperMerger's order) or `BRI=1,COL1=-0.5`."""
    found = dict.fromkeys(NAMES, 0.0)
    items = [item.strip() for item in text.split(",")]
    if len(items) > len(NAMES):
        raise call.error(f"adjust() has {len(NAMES)} settings, not {len(items)}", ",".join(NAMES))
    for place, item in zip(NAMES, items, strict=False):
        name, equals, number = item.rpartition("=")
        name = name.strip().upper() if equals else place
        if name not in found:
            raise call.error(
                f"adjust() has no setting '{name}'", did_you_mean(name, NAMES) or ",".join(NAMES)
            )
        try:
            found[name] = parse_number(number, name)
        except InputError as error:
            raise call.error(error.what, error.fix) from None
    return tuple(found.values())


FUNCTIONS = (Function("adjust", (value("x"), text("settings")), adjust),)
