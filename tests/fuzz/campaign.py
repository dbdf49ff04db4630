"""Many cases: targets in turn, failures made small and kept, figures at the end."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fuzz.case import Case
from fuzz.shrink import smaller
from fuzz.targets import TARGETS
from fuzz.verdict import Outcome, complaint

Run = Callable[[Case], Outcome]
ENOUGH = 2
"""Failures of one kind and target are kept; more of them teach nothing."""


@dataclass(frozen=True)
class Campaign:
    """targets by name; seconds over all of them, or cases of each; keep: a folder for what fails."""

    targets: list[str]
    seed: int
    seconds: float
    cases: int | None
    keep: Path


@dataclass
class Tally:
    """What became of a target's cases."""

    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slowest: float = 0.0

    @property
    def cases(self) -> int:
        return self.ends.total()


def campaign(plan: Campaign, run: Run, fixtures: Path) -> int:
    """Run it, print its figures; 1 when anything failed."""
    tallies = {name: Tally() for name in plan.targets}
    kept: Counter[str] = Counter()
    print(f"seed {plan.seed}", flush=True)
    for name, number in _turns(plan, tallies):
        case = TARGETS[name](Random(f"{plan.seed} {name} {number}"), fixtures)
        started = time.monotonic()
        outcome = run(case)
        took = time.monotonic() - started
        tally = tallies[name]
        tally.seconds += took
        tally.slowest = max(tally.slowest, took)
        said = complaint(case, outcome)
        tally.ends["failed" if said else outcome.bucket] += 1
        if said:
            kind = f"{name}: {_kind(said)}"
            kept[kind] += 1
            if kept[kind] <= ENOUGH:
                _keep(plan.keep, case, run, said)
    _print(tallies)
    return 1 if any(tally.ends["failed"] for tally in tallies.values()) else 0


def _turns(plan: Campaign, tallies: dict[str, Tally]) -> Iterator[tuple[str, int]]:
    """(target, number of the case). By time, the target that has had least of it comes next."""
    if plan.cases is not None:
        yield from ((name, number) for name in plan.targets for number in range(plan.cases))
        return
    end = time.monotonic() + plan.seconds
    while time.monotonic() < end:
        name = min(plan.targets, key=lambda name: tallies[name].seconds)
        yield name, tallies[name].cases


def _kind(said: str) -> str:
    """Complaints of one kind begin alike, but for names and numbers."""
    return "".join(letter for letter in said if not letter.isdigit())[:160]


def _keep(folder: Path, case: Case, run: Run, said: str) -> None:
    small = smaller(case, lambda other: _kind(complaint(other, run(other)) or "") == _kind(said))
    text = small.to_json()
    folder.mkdir(exist_ok=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    file = folder / f"{case.target.replace(' ', '-')}-{digest}.json"
    file.write_text(text, "utf-8")
    print(f"\n{case.target}: {said}\n  python -m fuzz --replay {file}", flush=True)


def _print(tallies: dict[str, Tally]) -> None:
    columns = ("cases", "done", "refused", "machine", "failed")
    print(f"\n{'':20}" + "".join(f"{column:>9}" for column in columns) + f"{'slowest':>10}")
    total: Counter[str] = Counter()
    for name, tally in tallies.items():
        total += tally.ends
        _print_row(name, tally.ends, tally.slowest)
    _print_row("all", total, max(tally.slowest for tally in tallies.values()))


def _print_row(name: str, ends: Counter[str], slowest: float) -> None:
    counts = (ends.total(), *(ends[end] for end in ("done", "refused", "machine", "failed")))
    print(f"{name:20}" + "".join(f"{count:9,}" for count in counts) + f"{slowest:8.1f} s")
