"""The workshop's figures, as a table on stdout; README-workshop.md says how to read it."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loralathe.demo import unpack_family

MANY = 10_000
GRID = {"prompt": "hina, smiling, navy shirt, forest", "negative": "picture", "steps": 8, "cfg": 4}


@dataclass
class Server:
    """A running `lathe ui`, and what it took to start."""

    process: subprocess.Popen[str]
    address: str
    seconds: float

    def ask(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.address}{path}", data, {"X-Lathe": "1"})
        with urllib.request.urlopen(asked) as answer:
            text = answer.read()
        return json.loads(text) if path.startswith("api/") else text

    def run(self, request: object) -> float:
        """Seconds from the request until the job is done."""
        begun = time.perf_counter()
        number = self.ask("api/jobs", request)["id"]
        while (job := self.ask(f"api/jobs/{number}"))["state"] in ("waiting", "running"):
            time.sleep(0.02)
        if job["state"] != "done":
            raise RuntimeError(f"{job['state']}: {job['error']}")
        return time.perf_counter() - begun

    def megabytes(self) -> float:
        """Resident memory of the server's own process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1000


@contextmanager
def server(folder: Path, *options: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "loralathe.cli", "ui", "--no-browser", "--port", "0", *options]
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found is not None, line
        yield Server(process, found[0], time.perf_counter() - begun)
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workshop", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        unpack_family(folder / "models")
        rows = [*_of_a_server(folder, rounds), *_of_many_files(folder, rounds)]
    print("| figure | measured | aim |\n|---|---:|---:|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def _of_a_server(folder: Path, rounds: int) -> Iterator[tuple[str, str, str]]:
    options = ("--checkpoints", "models", "--loras", "models", "--out", "made")
    starts = []
    for _ in range(rounds):
        with server(folder, *options) as one:
            starts.append(one.seconds)
    yield "server start, until it answers", f"{statistics.median(starts):.2f} s", "1 s"
    with server(folder, *options) as one:
        one.ask("")
        pages = []
        for _ in range(20):
            begun = time.perf_counter()
            one.ask("")
            pages.append(time.perf_counter() - begun)
        yield "first page", f"{1000 * statistics.median(pages):.0f} ms", "100 ms"
        one.run(_grid("warm", 100))
        ours, theirs = [], []
        for number in range(rounds):
            ours.append(one.run(_grid(f"grid{number}", number)))
            theirs.append(_command(folder, number))
        ratio = statistics.median(ours) / statistics.median(theirs)
        yield (
            "second grid of 6 on a loaded base, against the same `lathe grid`",
            f"{statistics.median(ours):.1f} s / {statistics.median(theirs):.1f} s = {ratio:.2f}",
            "0.5",
        )
        yield "from a picture on the disk to its event at a page", f"{1000 * _delay(folder, one):.0f} ms", ""
        yield "memory of the server", f"{one.megabytes():.0f} MB", "100 MB"


def _grid(name: str, seed: int) -> dict[str, object]:
    options = {**GRID, "x": "hina = 0, 0.3, 0.5, 0.7, 0.9, 1", "seed": seed, "output": name}
    words = ["checkpoints/baseA.safetensors", "loras/hina.safetensors"]
    return {"command": "grid", "words": words, "options": options}


def _delay(folder: Path, one: Server) -> float:
    """Seconds from a picture's file on the disk to its event at a page, median over a grid."""
    delays: list[float] = []
    with urllib.request.urlopen(f"{one.address}api/events") as stream:
        one.ask("api/jobs", _grid("told", 7))
        event = ""
        for raw in stream:
            line = raw.decode().strip()
            if line.startswith("event:"):
                event = line.split()[1]
            elif line.startswith("data:") and event == "cell":
                found = json.loads(line[5:])
                file = folder / "made" / found["url"].removeprefix("/files/out/")
                delays.append(time.time() - file.stat().st_mtime)
                if len(delays) == 6:
                    return statistics.median(delays)
    raise RuntimeError("the stream ended")


def _command(folder: Path, seed: int) -> float:
    flags = [word for name, value in GRID.items() for word in (f"--{name}", str(value))]
    axis = "hina = 0, 0.3, 0.5, 0.7, 0.9, 1"
    files = ["models/baseA.safetensors", "models/hina.safetensors"]
    out = folder / f"command{seed}"
    words = ["grid", *files, *flags, "--x", axis, "--seed", str(seed), "-o", str(out), "--quiet"]
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "loralathe.cli", *words], cwd=folder, check=True)
    return time.perf_counter() - begun


def _of_many_files(folder: Path, rounds: int) -> Iterator[tuple[str, str, str]]:
    many = folder / "many"
    many.mkdir()
    first = many / "0.safetensors"
    shutil.copy(folder / "models" / "hina.safetensors", first)
    for number in range(1, MANY):
        (many / f"{number}.safetensors").hardlink_to(first)
    with server(folder, "--checkpoints", "models", "--loras", "many", "--out", "other") as one:
        seconds = []
        for _ in range(rounds):
            begun = time.perf_counter()
            found = one.ask("api/library?kind=lora&limit=100")
            seconds.append(time.perf_counter() - begun)
        assert found["total"] == MANY
        yield f"{MANY:,} files listed", f"{statistics.median(seconds):.2f} s", "1 s"


if __name__ == "__main__":
    main()
