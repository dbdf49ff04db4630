"""`kill -9` while the real renderer works on a grid: the next run renders what is missing and no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from loralathe.families.sd1 import SD1
from loralathe.rendering import ImageRequest, LocalRenderer, OnImage
from loralathe.studies.context import gather_context
from loralathe.studies.grid import GridOptions, GridResult, run_grid
from promise.conftest import Atelier

CHILD = """
import sys
from pathlib import Path
from promise.test_kill_in_mid_grid import Counted, grid
grid(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Counted("cpu", batch_size=2))
"""
CELLS = 12


class Counted(LocalRenderer):
    """Remembers which requests it was given and which pictures it made."""

    asked: list[ImageRequest]
    drawn: int = 0

    def render(self, requests: Sequence[ImageRequest], on_image: OnImage) -> None:
        self.asked = list(requests)

        def count(index: int, image: object) -> None:
            self.drawn += 1
            on_image(index, image)  # type: ignore[arg-type]

        super().render(requests, count)


def grid(checkpoint: Path, loras: Path, folder: str, renderer: LocalRenderer) -> GridResult:
    request = ImageRequest(
        str(checkpoint), prompt="hina <lora:sd1-linear:1>", steps=3, width=64, height=64, sampler="Euler a"
    )
    return run_grid(
        GridOptions(
            request,
            Path(folder),
            x="sd1-linear unet = 0..1 (+0.2)",
            y="sd1-linear te = 0.5, 1",
            context=gather_context(SD1, lora_dirs=[loras]),
            preview_seconds=0,
        ),
        renderer,
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("cells/*.png")}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_only_missing_cells_are_rendered(atelier: Atelier, tmp_path: Path) -> None:
    base, loras, folder = atelier.base("sd1"), atelier.folder / "loras", tmp_path / "grid"
    root = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join([str(root / "src"), str(root / "tests")])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(base), str(loras), str(folder)],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while len(list(folder.glob("cells/*.json"))) < 3 and time.monotonic() < deadline:
        assert child.poll() is None, "the child ended before it was killed"
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = {path.stem for path in folder.glob("cells/*.json")}
    assert 3 <= len(kept) < CELLS
    before = bytes_of(folder)

    with Counted("cpu", batch_size=2) as renderer:
        result = grid(base, loras, str(folder), renderer)
        assert len(renderer.asked) == renderer.drawn == result.rendered == CELLS - len(kept)
        missing = [cell.cell.request for cell in result.cells if cell.cell.key not in kept]
        assert sorted(r.key() for r in renderer.asked) == sorted(r.key() for r in missing)
        assert grid(base, loras, str(folder), renderer).rendered == 0
        assert renderer.drawn == CELLS - len(kept)
    after = bytes_of(folder)
    assert len(after) == CELLS
    assert all(cell.done for cell in result.cells)
    assert {name: after[name] for name in before if Path(name).stem in kept} == {
        name: data for name, data in before.items() if Path(name).stem in kept
    }
    assert not list(folder.rglob("*.part"))
