"""A training stage as a resumable loop: the state is saved every few minutes, every schedule counts steps.

Nothing depends on wall time or on what ran before: the random numbers of step n come from (stage, seed, n),
so a stage that was stopped and resumed takes the same steps as one that was not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

SAVE_SECONDS = 120.0
LOG_SECONDS = 20.0


class Stateful(Protocol):
    """A module or an optimizer."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any) -> Any: ...


@dataclass(frozen=True)
class Stage:
    """Where a stage keeps its state, and how long it is."""

    name: str
    steps: int
    folder: Path
    seed: int = 0
    resume: bool = True

    @property
    def checkpoint(self) -> Path:
        """The file that holds weights and optimizer state."""
        return self.folder / f"{self.name}.pt"

    def rng(self, step: int) -> random.Random:
        """Random choices of one step."""
        return random.Random(f"{self.name}/{self.seed}/{step}")

    def generator(self, step: int) -> torch.Generator:
        """Random tensors of one step."""
        return torch.Generator(torch.get_default_device()).manual_seed(self.rng(step).getrandbits(62))


def stage_arguments(name: str, steps: int, description: str | None) -> argparse.ArgumentParser:
    """The options every stage has."""
    parser = argparse.ArgumentParser(prog=f"python -m training.{name}", description=description)
    parser.add_argument("--state", type=Path, default=Path(os.environ.get("TINYFAM_STATE", "build/tinyfam")))
    parser.add_argument("--steps", type=int, default=steps, help=f"length of the schedule (default {steps})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--device", default="cpu", help="where to train: cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    return parser


def start_stage(name: str, options: argparse.Namespace) -> Stage:
    """Reads the common options, makes the state folder and sets threads and device."""
    torch.set_num_threads(options.threads)
    torch.set_default_device(options.device)
    options.state.mkdir(parents=True, exist_ok=True)
    return Stage(name, options.steps, options.state, options.seed, options.resume)


def train(
    stage: Stage,
    parts: Mapping[str, Stateful],
    step: Callable[[int], dict[str, float]],
    evaluate: Callable[[], dict[str, float]] | None = None,
    evaluate_every: int = 0,
) -> None:
    """Runs `step(n)` from the last saved n to `stage.steps`; saves `parts`, logs JSON lines beside them."""
    first = _load(stage, parts) if stage.resume else 0
    log = stage.folder / f"{stage.name}.jsonl"
    started = saved = logged = time.monotonic()
    for n in range(first, stage.steps):
        numbers = step(n)
        now = time.monotonic()
        due = evaluate is not None and evaluate_every > 0 and (n + 1) % evaluate_every == 0
        if due or now - logged > LOG_SECONDS or n + 1 == stage.steps:
            logged = now
            if due and evaluate is not None:
                numbers = numbers | evaluate()
            per_step = (now - started) / (n + 1 - first)
            _log(
                log,
                {"step": n + 1, "s/step": round(per_step, 4), **{k: round(v, 5) for k, v in numbers.items()}},
            )
        if now - saved > SAVE_SECONDS:
            saved = now
            _save(stage, parts, n + 1)
    _save(stage, parts, max(first, stage.steps))


def load_part(folder: Path, stage: str, part: str) -> Any:
    """The saved state of one part of a stage."""
    path = folder / f"{stage}.pt"
    if not path.exists():
        raise SystemExit(f"{path} does not exist: run `python -m training.{stage.partition('-')[0]}` first")
    return torch.load(path, weights_only=True, map_location=torch.get_default_device())["parts"][part]


def steps_done(folder: Path, stage: str) -> int:
    """How many steps the saved state has seen."""
    path = folder / f"{stage}.pt"
    return int(torch.load(path, weights_only=True)["step"]) if path.exists() else 0


def cosine(n: int, steps: int, *, warmup: int = 50, flat: float = 0.0) -> float:
    """Learning-rate factor: linear warm-up, constant for the share `flat`, then half a cosine down to 0."""
    if n < warmup:
        return (n + 1) / warmup
    tail = max(n / steps - flat, 0.0) / (1.0 - flat)
    return 0.5 + 0.5 * math.cos(math.pi * min(tail, 1.0))


def _save(stage: Stage, parts: Mapping[str, Stateful], step: int) -> None:
    temporary = stage.checkpoint.with_suffix(".tmp")
    torch.save({"step": step, "parts": {name: part.state_dict() for name, part in parts.items()}}, temporary)
    temporary.replace(stage.checkpoint)


def _load(stage: Stage, parts: Mapping[str, Stateful]) -> int:
    if not stage.checkpoint.exists():
        return 0
    saved = torch.load(stage.checkpoint, weights_only=True, map_location=torch.get_default_device())
    for name, part in parts.items():
        part.load_state_dict(saved["parts"][name])
    print(f"{stage.name}: resumed at step {saved['step']} of {stage.steps}", flush=True)
    return int(saved["step"])


def _log(path: Path, entry: dict[str, float]) -> None:
    line = json.dumps(entry)
    print(line, flush=True)
    with path.open("a") as file:
        file.write(line + "\n")
