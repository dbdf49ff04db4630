"""Whole differences, of weights, norms and biases. They have no scale of their own.

    LyCORIS `full`, ComfyUI   diff (as the weight), diff_b (as the bias)
    LyCORIS `norm`            w_norm, b_norm (channels,)
    PEFT `lora_bias`          lora_B.bias, beside a LoRA and with its scale (`LoraLayer.merge`)

A difference of a bias is a module of its own, beside the one of the layer, whatever kind that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.adapters.kind import DeltaShape, Kind, ModuleData, ModuleHeader, smaller_side

if TYPE_CHECKING:
    from loralathe.lowrank import Factors

LORA_BIAS = "lora_B.bias"


def delta_shape(header: ModuleHeader) -> DeltaShape:
    """Raises InputError naming file and tensor for a missing difference and other axes."""
    header.check_missing([] if "diff" in header.tensors else ["diff"])
    info = header.tensors["diff"]
    header.check_axes(info, len(info.shape) in (1, 2, 4), "(out, in[, k, k]) or (channels)")
    return DeltaShape(info.shape, smaller_side(info.shape), None)


def factors(module: ModuleData) -> Factors:
    """The difference beside a unit matrix."""
    from loralathe.lowrank import dense_factors

    return dense_factors(module.read("diff"))


KINDS = (
    Kind(
        "full", "full difference", {"diff": "diff", "diff_b": "diff", LORA_BIAS: "diff"}, delta_shape,
        factors, biases=("diff_b", LORA_BIAS), refused=("set_weight",), layered=("diff",),
    ),
    Kind(
        "norm", "norm", {"w_norm": "diff", "b_norm": "diff"}, delta_shape, factors, biases=("b_norm",)
    ),
)  # fmt: skip
