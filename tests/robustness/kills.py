"""`python -m robustness.kills --count 1000`: SIGKILL at any moment, and what is found afterwards.

Half of the kills come at a random moment, half before or after a system call that touches a file, drawn from
all those that an undisturbed run makes. Nothing cleans up in between: the next run of the same job has to.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from robustness.forkserver import ForkServer, open_forkserver
from robustness.workdir import contents, write_inputs

Found = str
"""How a folder was found: "nothing", "temporary file", "whole" or "old"."""
OLD = b"the old one"


@dataclass(frozen=True)
class Scenario:
    """A job, the files that it makes, and how often it is drawn."""

    request: dict[str, object]
    outputs: tuple[str, ...]
    weight: int
    replaces: bool = False


MERGE = "A + 0.7*lora + 0.5*(B - A)"
SCENARIOS: dict[str, Scenario] = {
    "merge": Scenario({"formula": MERGE}, ("out.safetensors",), 7),
    "extraction": Scenario({"formula": "extract(B - A, rank=2)"}, ("out.safetensors",), 4),
    "two outputs": Scenario({"job": "two outputs"}, ("merged.safetensors", "difference.safetensors"), 2),
    "replacement": Scenario({"formula": MERGE, "force": True}, ("out.safetensors",), 3, replaces=True),
    "grid": Scenario({"job": "grid"}, (), 4),
}


@dataclass
class Arena:
    """One scenario's folder, with what an undisturbed run leaves, takes and calls."""

    forkserver: ForkServer
    scenario: Scenario
    folder: Path
    inputs: dict[str, tuple[str, str]] = field(init=False)
    whole: dict[str, bytes] = field(init=False)
    calls: list[tuple[str, int]] = field(init=False)
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        self.inputs = contents(self.folder)
        counted = self.forkserver.run(self.folder, **self.scenario.request, count=True)  # type: ignore[arg-type]
        assert counted["code"] == 0, counted
        self.calls = [(name, count) for name, count in counted["calls"].items()]  # type: ignore[attr-defined]
        self.whole = self._outputs()
        self.clear()
        started = time.monotonic()
        self.finish()
        self.seconds = time.monotonic() - started
        self.clear()

    def kill(self, draw: Random) -> Found:
        """One run that is killed; AssertionError when what it leaves breaks a promise."""
        if self.scenario.replaces:
            (self.folder / self.scenario.outputs[0]).write_bytes(OLD)
        if draw.random() < 0.5:
            self._kill_at_a_call(draw)
        else:
            self._kill_at_a_moment(draw)
        return self.judge()

    def _kill_at_a_call(self, draw: Random) -> None:
        name, count = draw.choice(self.calls)
        trap = (name, draw.randint(1, count), draw.choice(("before", "after")))
        self.forkserver.run(self.folder, **self.scenario.request, trap=trap)  # type: ignore[arg-type]

    def _kill_at_a_moment(self, draw: Random) -> None:
        pid = self.forkserver.start(self.folder, **self.scenario.request)  # type: ignore[arg-type]
        time.sleep(draw.uniform(0.0, 1.1 * self.seconds))
        with contextlib.suppress(ProcessLookupError):  # it was done before
            os.kill(pid, signal.SIGKILL)
        self.forkserver.wait()

    def judge(self) -> Found:
        """Inputs untouched, outputs whole or absent, at most one temporary file for each output."""
        now = contents(self.folder)
        assert {name: now.get(name) for name in self.inputs} == self.inputs, "an input was touched"
        parts = [name for name in now if name.endswith((".part", ".tmp"))]
        if not self.scenario.outputs:
            return self._judge_study(parts)
        assert len(parts) <= len(self.scenario.outputs), parts
        found = self._outputs()
        assert all(data in (self.whole[name], OLD) for name, data in found.items()), "half a file"
        self.clear(but=parts)
        if found and OLD not in found.values():
            return "whole"
        return "temporary file" if parts else "old" if found else "nothing"

    def _judge_study(self, parts: list[str]) -> Found:
        from PIL import Image

        for picture in (self.folder / "study").glob("**/*.png"):
            if picture.name.startswith("."):
                continue
            with Image.open(picture) as image:
                image.load()
        whole = (self.folder / "study" / "grid.png").exists()
        if whole:
            self.clear()
        return "whole" if whole else "temporary file" if parts else "nothing"

    def finish(self) -> None:
        """An undisturbed run: it succeeds, gives the known bytes, and no temporary file stays."""
        if self.scenario.replaces:
            (self.folder / self.scenario.outputs[0]).write_bytes(OLD)
        ended = self.forkserver.run(self.folder, **self.scenario.request)  # type: ignore[arg-type]
        assert ended == {"code": 0}, ended
        assert self._outputs() == self.whole
        left = [name for name in contents(self.folder) if name.endswith((".part", ".tmp"))]
        assert not left, left

    def clear(self, but: list[str] | tuple[str, ...] = ()) -> None:
        """Remove outputs; temporary files are left for the next run to find."""
        for path in sorted(self.folder.rglob("*"), reverse=True):
            name = str(path.relative_to(self.folder))
            if name not in self.inputs and name not in but:
                path.rmdir() if path.is_dir() else path.unlink()

    def _outputs(self) -> dict[str, bytes]:
        files = {name: self.folder / name for name in self.scenario.outputs}
        return {name: path.read_bytes() for name, path in files.items() if path.exists()}


def kill_many(
    forkserver: ForkServer,
    place: Path,
    count: int,
    seed: int,
    say: Callable[[str], None] = lambda text: None,
    write: Callable[[Path], None] = write_inputs,
) -> dict[str, Counter[Found]]:
    """`count` kills over all scenarios; after every tenth, and at the end, a run that is left alone."""
    draw = Random(seed)
    arenas = {name: _arena(forkserver, scenario, place, write) for name, scenario in SCENARIOS.items()}
    found: dict[str, Counter[Found]] = {name: Counter() for name in arenas}
    names = [name for name, scenario in SCENARIOS.items() for _ in range(scenario.weight)]
    for number in range(1, count + 1):
        name = draw.choice(names)
        found[name][arenas[name].kill(draw)] += 1
        if number % 10 == 0:
            arenas[name].finish()
            arenas[name].clear()
            found[name]["run after"] += 1
        if number % 50 == 0:
            say(f"{number} kills")
    for name, arena in arenas.items():
        arena.finish()
        arena.clear()
        found[name]["run after"] += 1
        assert contents(arena.folder) == arena.inputs
    return found


def _arena(forkserver: ForkServer, scenario: Scenario, place: Path, write: Callable[[Path], None]) -> Arena:
    digest = hashlib.sha256(repr(scenario).encode()).hexdigest()[:8]
    folder = place / digest
    folder.mkdir()
    if scenario.outputs:
        write(folder)
    return Arena(forkserver, scenario, folder)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m robustness.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="kills-") as place,
        open_forkserver(Path(place, "cache")) as forkserver,
    ):
        found = kill_many(
            forkserver, Path(place), options.count, options.seed, lambda t: print(t, flush=True)
        )
    columns = ("kills", "nothing", "temporary file", "old", "whole", "run after")
    print(f"{'':12}" + "".join(f"{column:>15}" for column in columns))
    for name, counts in found.items():
        kills = counts.total() - counts["run after"]
        row = (kills, *(counts[column] for column in columns[1:]))
        print(f"{name:12}" + "".join(f"{number:15,}" for number in row))
    print("every output whole, old or absent; every input untouched; every run after a kill succeeded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
