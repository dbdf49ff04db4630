"""What it costs that another process, a server or a cluster draws: `python -m benchmarks.elsewhere`.

Each figure is the time beside the drawing itself. README-elsewhere.md says how to read them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from loralathe.rendering import ImageRequest
from loralathe.rendering.elsewhere import Opening, process_pool
from loralathe.rendering.elsewhere.comfyui import comfy_pool
from loralathe.rendering.elsewhere.drawer import FileFacts, Node
from loralathe.rendering.elsewhere.messages import Ended, packed, receive, send, unpacked
from loralathe.rendering.elsewhere.pool import Pool
from loralathe.rendering.elsewhere.program import Settings
from loralathe.rendering.elsewhere.webui import webui_pool
from loralathe.rendering.png import png_bytes
from loralathe.studies.grid import GridOptions, run_grid

SIDE = 1024
ROOT = Path(__file__).resolve().parents[1]
ECHO = """
import sys
from loralathe.rendering.elsewhere.messages import receive, send
while True:
    try:
        send(sys.stdout.buffer, receive(sys.stdin.buffer))
    except EOFError:
        break
"""


@dataclass(frozen=True)
class Figure:
    """A row: what, its value, its unit, CPU time of this process, how often it was measured."""

    what: str
    value: float
    unit: str
    runs: int
    cpu: float | None = None

    def line(self) -> str:
        cpu = "" if self.cpu is None else f"{self.cpu:.1f}"
        return f"| {self.what} | {self.value:.1f} | {self.unit} | {cpu} | {self.runs} |"


@dataclass(frozen=True)
class Took:
    """Seconds of the clock, and of the CPU in this process."""

    wall: float
    cpu: float

    def figure(self, what: str, each: int, runs: int) -> Figure:
        """Milliseconds for one of `each`."""
        return Figure(what, self.wall / each * 1e3, "ms", runs, self.cpu / each * 1e3)

    def __sub__(self, other: Took) -> Took:
        return Took(self.wall - other.wall, self.cpu - other.cpu)


def middle(found: list[Took]) -> Took:
    return Took(statistics.median(one.wall for one in found), statistics.median(one.cpu for one in found))


def noisy_picture(side: int) -> Image.Image:
    """As hard to compress as a photo: coarse shapes and fine noise."""
    random = np.random.default_rng(1)
    coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side))
    noise = random.integers(-6, 7, (side, side, 3))
    return Image.fromarray((np.asarray(coarse).astype(int) + noise).clip(0, 255).astype(np.uint8))


def timed(work: Callable[[], object]) -> Took:
    begun, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - begun, time.process_time() - cpu)


def of_processes(folder: Path, rounds: int, cells: int) -> Iterator[Figure]:
    """A warm process against a warm renderer in this one, in turns, on a model as small as can be."""
    from checkpoints import write_safetensors
    from rendering.conftest import make_checkpoint

    base = folder / "base.safetensors"
    write_safetensors(base, make_checkpoint("sd1"))
    one = ImageRequest(str(base), prompt="girl", steps=2, sampler="Euler", width=64, height=64)
    wanted = [replace(one, seed=seed) for seed in range(cells)]
    opening = Opening("cpu")
    with opening.renderer() as here, process_pool(["cpu"], opening) as pool:
        began = timed(lambda: pool.render(wanted[:1], lambda index, image: None))
        here.render(wanted[:1], lambda index, image: None)
        more = [
            timed(lambda: pool.render(wanted, lambda index, image: None))
            - timed(lambda: here.render(wanted, lambda index, image: None))
            for _ in range(rounds)
        ]
    yield Figure("a process begins and loads the small model", began.wall, "s", 1)
    yield middle(more).figure("a cell by a process, 64×64: more than here", cells, rounds)


def of_pipes(rounds: int) -> Iterator[Figure]:
    """There and back, so one way is half of it."""
    image = noisy_picture(SIDE)
    echo = subprocess.Popen([sys.executable, "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert echo.stdin is not None
    assert echo.stdout is not None
    into, out = echo.stdin, echo.stdout

    def there_and_back() -> None:
        send(into, packed(0, image))
        found = receive(out)
        assert not isinstance(found, Ended)
        unpacked(found)  # type: ignore[arg-type]

    there_and_back()
    took = middle([timed(there_and_back) for _ in range(rounds)])
    into.close()
    echo.wait()
    yield took.figure(f"a picture of {SIDE}×{SIDE} through a pipe", 2, rounds)


def of_servers(folder: Path, rounds: int, cells: int) -> Iterator[Figure]:
    """A server that draws in no time: what is left is the asking, the sending and the reading."""
    from checkpoints import tiny_checkpoint, write_safetensors
    from elsewhere import comfy_stand_in, webui_stand_in
    from elsewhere.comfy_stand_in import ComfyStandIn
    from elsewhere.webui_stand_in import WebuiStandIn

    base = folder / "served.safetensors"
    write_safetensors(base, tiny_checkpoint("sd1", seed=1))
    buffer = io.BytesIO()
    noisy_picture(SIDE).save(buffer, "PNG", compress_level=1)
    ready = buffer.getvalue()
    comfy_stand_in.picture_of = webui_stand_in.picture_of = lambda *words: ready  # type: ignore[assignment]
    one = ImageRequest(str(base), prompt="girl", steps=2, sampler="Euler", width=SIDE, height=SIDE)
    wanted = [replace(one, seed=seed) for seed in range(cells)]
    for name, stand_in, pool_of in (
        ("ComfyUI", ComfyStandIn("served.safetensors"), comfy_pool),
        ("A1111", WebuiStandIn("served.safetensors"), webui_pool),
    ):
        with stand_in.running() as server, pool_of([server], Settings()) as pool:
            took = [timed(lambda pool=pool: _all(pool, wanted)) for _ in range(rounds)]  # type: ignore[misc]
        yield middle(took).figure(f"a cell by {name}, {SIDE}×{SIDE}, drawn in no time", cells, rounds)


def _all(pool: Pool, wanted: list[ImageRequest]) -> None:
    pool.render(wanted, lambda index, image: None)


class Ready:
    """A renderer that has its picture."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image

    def render(self, requests: list[ImageRequest], on_image: Callable[[int, Image.Image], None]) -> None:
        for index, _ in enumerate(requests):
            on_image(index, self._image)


def of_this_process(folder: Path, rounds: int, cells: int) -> Iterator[Figure]:
    """What stays with the process that asked: PNG files, and the sheet."""
    image = noisy_picture(SIDE)
    took = middle([timed(lambda: png_bytes(image)) for _ in range(rounds)])
    yield took.figure(f"a cell's PNG, {SIDE}×{SIDE}", 1, rounds)
    one = ImageRequest("base.safetensors", prompt="girl", width=SIDE, height=SIDE, sampler="Euler")
    options = GridOptions(one, folder / "grid", x=f"seed = 1-{cells}", scorers=(), preview_seconds=0)
    made = timed(lambda: run_grid(options, Ready(image)))  # type: ignore[arg-type]
    again = timed(lambda: run_grid(options, Ready(image)))  # type: ignore[arg-type]
    yield (made - again).figure(f"a grid's own work for a cell, {SIDE}×{SIDE}", cells, 1)
    yield again.figure(f"sheet and page of {cells} cells, for a cell", cells, 1)


def of_files(folder: Path) -> Iterator[Figure]:
    """A node takes a file in pieces, and reads its hash."""
    node, piece, count = Node(Opening("cpu")), bytes(16 << 20), 16
    size = len(piece) * count
    facts = FileFacts("/not/here/sent.safetensors", size, hashlib.sha256(piece * count).hexdigest())
    took = timed(lambda: [node.take(facts, number * len(piece), piece) for number in range(count)])
    found = timed(lambda: node.find(facts))
    yield Figure("a file onto a node's disk", size / took.wall / 1e6, "MB/s", 1)
    yield Figure("a file's hash, the first time", size / found.wall / 1e6, "MB/s", 1)


def of_devices(folder: Path) -> Iterator[Figure]:
    """A grid of 60 cells of the trained family, the whole command: threads of one process, and processes."""
    from loralathe.demo import unpack_family

    unpack_family(folder / "family")
    words = [
        "grid",
        "baseA",
        "hina",
        "--prompt",
        "girl",
        "--size",
        "128x128",
        "--steps",
        "8",
        "--cfg",
        "4",
        "--scorer",
        "none",
    ]
    words += ["--x", "hina = 0..1 [6]", "--y", "seed = 1-10"]
    ways = {
        "one process, one thread": (["--device", "cpu"], 1),
        "one process, two threads": (["--device", "cpu"], 2),
        "two processes, one thread each": (["--devices", "cpu,cpu"], 1),
    }
    for number, (name, (more, threads)) in enumerate(ways.items()):
        command = [sys.executable, "-m", "loralathe.cli", *words, *more, "-o", str(folder / f"way{number}")]
        surroundings = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT / "src")}
        begun = time.perf_counter()
        subprocess.run(command, cwd=folder / "family", env=surroundings, check=True, capture_output=True)
        yield Figure(f"60 cells: {name}", time.perf_counter() - begun, "s", 1)


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    before = os.environ.get("LORALATHE_CACHE")
    os.environ["LORALATHE_CACHE"] = str(folder / "cache")
    try:
        yield
    finally:
        os.environ.pop("LORALATHE_CACHE")
        if before is not None:
            os.environ["LORALATHE_CACHE"] = before


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.elsewhere", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--devices", action="store_true", help="only: two processes against one")
    chosen = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))  # small models, and stand-ins of ComfyUI and A1111
    import torch

    torch.set_num_threads(1)
    print("| what | clock | | CPU | runs |\n|---|---:|---|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with own_cache(folder):
            every = (
                [of_devices(folder)]
                if chosen.devices
                else [
                    of_processes(folder, chosen.rounds, chosen.cells),
                    of_pipes(chosen.rounds * 4),
                    of_servers(folder, chosen.rounds, chosen.cells),
                    of_this_process(folder, chosen.rounds, chosen.cells),
                    of_files(folder),
                ]
            )
            for figures in every:
                for figure in figures:
                    print(figure.line(), flush=True)


if __name__ == "__main__":
    main()
