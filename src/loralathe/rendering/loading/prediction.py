"""What a U-Net was trained to predict, and whether its noise schedule ends in pure noise."""

from __future__ import annotations

from loralathe.errors import InputError
from loralathe.families import Detected
from loralathe.rendering.loading.shapes import UNET
from loralathe.rendering.loading.weights import Weights
from loralathe.rendering.samplers import Prediction

ZERO_TERMINAL_MARK = "ztsnr"
SD2_TELLTALE = UNET + "output_blocks.11.1.transformer_blocks.0.norm1.bias"
SD2_V_STD = 0.09
"""SD 2 carries no mark. The spread of this bias tells the two released models apart (ComfyUI's test);
averaging many models can shrink it below the limit, hence the override."""


def prediction_of(detected: Detected, weights: Weights, wanted: Prediction | None) -> Prediction:
    """'epsilon' or 'v_prediction': what the person says, else the file's mark, else what the weights tell."""
    if wanted is not None:
        return wanted
    if detected.prediction in ("edm", "edm-v"):
        raise InputError(
            f"models of the EDM kind cannot be rendered ({detected.prediction_source})", where=weights.name
        )
    if detected.prediction is None:
        spread = weights.read(SD2_TELLTALE).float().std(correction=0).item()
        return "v_prediction" if spread > SD2_V_STD else "epsilon"
    return "v_prediction" if detected.prediction == "v" else "epsilon"


def ends_in_noise(weights: Weights) -> bool:
    """Whether the file carries the mark of zero terminal SNR."""
    return ZERO_TERMINAL_MARK in weights.tensors
