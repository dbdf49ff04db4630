"""A1111's sampler and schedule names, and what stands behind each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from loralathe.errors import InputError, close_matches
from loralathe.rendering.samplers import levels, solvers
from loralathe.strengths import match_name

Prediction: TypeAlias = Literal["epsilon", "v_prediction", "flow"]


@dataclass(frozen=True)
class Sampler:
    """A sampler by A1111's name.

    solver:   the σ-space function, or None for the timestep samplers, which ignore the schedule.
    schedule: what "Automatic" means for it.
    drops_last: one more level is made and the last but one dropped (A1111 does so for a few samplers).
    """

    name: str
    solver: solvers.Solver | None
    schedule: str = "Uniform"
    drops_last: bool = False


_SAMPLERS = (
    Sampler("DPM++ 2M", solvers.dpmpp_2m, "Karras"),
    Sampler("DPM++ SDE", solvers.dpmpp_sde, "Karras"),
    Sampler("DPM++ 2M SDE", solvers.dpmpp_2m_sde, "Exponential"),
    Sampler("DPM++ 2S a", solvers.dpmpp_2s_ancestral, "Karras"),
    Sampler("DPM++ 3M SDE", solvers.dpmpp_3m_sde, "Exponential", drops_last=True),
    Sampler("Euler a", solvers.euler_ancestral),
    Sampler("Euler", solvers.euler),
    Sampler("LMS", solvers.lms),
    Sampler("Heun", solvers.heun),
    Sampler("DPM2", solvers.dpm2, "Karras", drops_last=True),
    Sampler("DPM2 a", solvers.dpm2_ancestral, "Karras", drops_last=True),
    Sampler("DDIM", None),
    Sampler("PLMS", None),
    Sampler("UniPC", None),
    Sampler("LCM", None),
)

SAMPLERS: dict[str, Sampler] = {sampler.name: sampler for sampler in _SAMPLERS}

AUTOMATIC = "Automatic"
SCHEDULES: dict[str, levels.Schedule] = {
    "Uniform": levels.uniform,
    "Karras": levels.karras,
    "Exponential": levels.exponential,
    "Polyexponential": levels.polyexponential,
    "SGM Uniform": levels.sgm_uniform,
    "KL Optimal": levels.kl_optimal,
    "Align Your Steps": levels.align_your_steps,
    "Simple": levels.simple,
    "Normal": levels.uniform,
    "DDIM": levels.ddim,
}

_ALIASES = {
    "k_euler": "Euler", "k_euler_a": "Euler a", "k_lms": "LMS", "k_heun": "Heun", "k_dpm_2": "DPM2",
    "k_dpm_2_a": "DPM2 a", "k_dpmpp_2m": "DPM++ 2M", "k_dpmpp_sde": "DPM++ SDE",
    "k_dpmpp_2m_sde": "DPM++ 2M SDE", "k_dpmpp_2s_a": "DPM++ 2S a", "k_dpmpp_3m_sde": "DPM++ 3M SDE",
    "euler ancestral": "Euler a", "k_lcm": "LCM",
}  # fmt: skip


def canonical_names(sampler: str, schedule: str = AUTOMATIC) -> tuple[str, str]:
    """A1111's spelling of a sampler and a schedule, any case, old joined names ("DPM++ 2M Karras") split.

    Raises InputError for names that exist in neither list, with close ones.
    """
    name = _find(sampler, {**{s: s for s in SAMPLERS}, **_ALIASES})
    if name is None:
        for label in SCHEDULES:
            if sampler.casefold().endswith(" " + label.casefold()):
                name = _find(sampler[: -len(label) - 1], {s: s for s in SAMPLERS})
                schedule = label if schedule.casefold() == AUTOMATIC.casefold() else schedule
    if name is None:
        raise _unknown("sampler", sampler, SAMPLERS)
    label = _find(schedule, {AUTOMATIC: AUTOMATIC, **{s: s for s in SCHEDULES}}) or ""
    if not label:
        raise _unknown("schedule", schedule, [AUTOMATIC, *SCHEDULES])
    return name, label


def _find(name: str, known: dict[str, str]) -> str | None:
    found = match_name(" ".join(name.split()), known)
    return None if found is None else known[found]


def _unknown(kind: str, name: str, known: object) -> InputError:
    names = list(known) if isinstance(known, (dict, list)) else []
    near = " or ".join(map(repr, close_matches(name, names)))
    fix = f"perhaps {near}" if near else f"known: {', '.join(names)}"
    return InputError(f"no {kind} is called '{name}'", fix=fix, about=kind)


def sigmas_for(sampler: Sampler, schedule: str, steps: int, noise_levels: levels.NoiseLevels) -> list[float]:
    """The levels that `sampler` visits in `steps` steps: steps + 1 numbers (canonical names expected)."""
    label = sampler.schedule if schedule == AUTOMATIC else schedule
    sigmas = SCHEDULES[label](steps + sampler.drops_last, noise_levels).tolist()
    if sampler.drops_last:
        del sigmas[-2]
    return [float(sigma) for sigma in sigmas]


def label_of(sampler: str, schedule: str) -> str:
    """What infotext calls the schedule: for Automatic the sampler's own, where it has one."""
    own = SAMPLERS[sampler].schedule
    return own if schedule == AUTOMATIC and own != "Uniform" else schedule
