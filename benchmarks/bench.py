"""One family's files, folder and patience, which all its cases share; and a row of the table."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import Machine
from benchmarks.make_files import FAMILIES, Files
from benchmarks.measure import Run, copy_seconds, middle, repeat, run_process, settle

RANK = 64
BLOCKS = {
    "sd15": "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,1,1,1,0.5,0.5",
    "sdxl": "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1",
}
GIB = 1 << 30
MERGE_BOUND, EXTRACT_BOUND = GIB, 2 * GIB

INPUTS = {
    "merge": ("A", "lora"),
    "extract": ("A", "B"),
    "weighted-sum": ("A", "B"),
    "add-difference": ("A", "B", "C"),
    "convert": ("A",),
}
STEPS = {
    "merge": "A + 0.7*lora",
    "extract": f"extract(B - A, rank={RANK})",
    "weighted-sum": "0.6*A + 0.4*B",
    "add-difference": "A + 0.7*(B - C)",
    "convert": "A",
}


@dataclass(frozen=True)
class Row:
    """A line of the table; seconds are medians, `limit` is what the machine's measured speeds allow."""

    family: str
    job: str
    run: Run
    runs: int
    baseline: str
    seconds: float
    limit: float
    limit_by: str
    bound: int | None = None

    @property
    def ratio(self) -> float:
        return self.run.whole / self.seconds

    @property
    def work_ratio(self) -> float:
        return self.run.work / self.seconds


@dataclass(frozen=True)
class Bench:
    """All that the cases of one family share."""

    family: str
    files: Files
    folder: Path
    machine: Machine
    rounds: int
    seconds: float

    @property
    def label(self) -> str:
        return FAMILIES[self.family].label

    @property
    def output(self) -> Path:
        return self.folder / "out.safetensors"

    def path(self, name: str) -> Path:
        return {"A": self.files.A, "B": self.files.B, "C": self.files.C, "lora": self.files.lora}[name]

    def size(self, *names: str) -> int:
        return sum(self.path(name).stat().st_size for name in names)

    def recipe(self, job: str, save: str = "") -> Path:
        """A recipe file with one step, saved as `out`; `save`: more of its options."""
        lines = ["[inputs]"]
        lines += [f'{name} = "{self.path(name).name}"' for name in INPUTS[job]]
        lines += [
            "[steps]",
            f'out = "{STEPS[job]}"',
            "[save]",
            f'out = {{ file = "{self.output.name}"{save} }}',
        ]
        return self.write_recipe(job, lines)

    def write_recipe(self, name: str, lines: list[str]) -> Path:
        path = self.folder / f"{self.family}-{name}.toml"
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return path

    def child(self, recipe: Path, *flags: str) -> Run:
        """One run with a settled disk; its outputs are removed."""
        settle()
        try:
            return run_process(["-m", "benchmarks.child", str(recipe), *flags], self.folder / "cache")
        finally:
            for path in self.folder.glob("out*.safetensors"):
                path.unlink()

    def copy(self, source: Path) -> float:
        settle()
        return copy_seconds(source, self.folder / "copy.safetensors")

    def turns(
        self, run: Callable[[], Run], baseline: Callable[[], float], rounds: int | None = None
    ) -> tuple[Run, int, float]:
        """Medians of a run and of its baseline, and how often they were taken."""
        pairs = repeat(rounds or self.rounds, self.seconds, lambda: (baseline(), run()))
        others, runs = zip(*pairs, strict=True)
        return middle(runs), len(runs), statistics.median(others)
