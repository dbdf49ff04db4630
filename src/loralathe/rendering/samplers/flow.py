"""Noise levels of models that predict flow, and the samplers that walk along it.

x = (1 − σ)·picture + σ·noise, σ from 1 to 0, and the network predicts dx/dσ = noise − picture. A step from σ
to σ′ keeps this form for every solver that only mixes x with an estimate of the picture by σ′/σ. Samplers
that add noise of their own need other formulas here, so they are refused.
"""

from __future__ import annotations

from loralathe.errors import InputError
from loralathe.families import Usual, moved
from loralathe.rendering.samplers.a1111 import AUTOMATIC
from loralathe.rendering.samplers.levels import TRAIN_STEPS

FLOW_SAMPLERS = ("Euler", "Heun", "LMS", "DPM2", "DPM++ 2M")


def check_flow_sampler(sampler: str, schedule: str, label: str) -> None:
    """InputError for a sampler or a schedule (canonical names) that a flow model is not drawn with."""
    if sampler not in FLOW_SAMPLERS:
        raise InputError(
            f"{label} models are not drawn with '{sampler}'",
            fix=f"samplers for them are {', '.join(FLOW_SAMPLERS)}",
            about="sampler",
        )
    if schedule != AUTOMATIC:
        raise InputError(
            f"{label} models are not drawn with the schedule '{schedule}'",
            fix=f"leave it at {AUTOMATIC}: they have noise levels of their own",
            about="schedule",
        )


def flow_levels(usual: Usual, steps: int, patches: int) -> list[float]:
    """steps + 1 levels from 1 to 0: equal steps, moved as the model was trained for so many patches."""
    assert usual.shift is not None
    shift = usual.shift(patches, steps)
    if not usual.lowest:
        return [moved(1 - step / steps, shift) for step in range(steps + 1)]
    width = (1 - moved(1 / TRAIN_STEPS, shift)) / max(steps - 1, 1)
    return [*(moved(1 - step * width, shift) for step in range(steps)), 0.0]
