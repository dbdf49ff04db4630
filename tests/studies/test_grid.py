"""A whole grid with a fake renderer: files, resume, redo, interruption, kill −9, recipes."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loralathe.errors import InputError, MachineError
from loralathe.progress import CallableSink, Cancel, Cancelled, CellEvent, Event, Progress
from loralathe.rendering.png import png_bytes
from loralathe.rendering.request import ImageRequest
from loralathe.studies.context import Context
from loralathe.studies.grid import GridOptions, run_grid
from loralathe.studies.page.build import grid_page
from loralathe.studies.scorers import DEFAULT_SCORERS, Scored
from loralathe.studies.store import CellStore
from studies.fakes import FakeRenderer, picture, request, use
from studies.test_axes import FakeRecipe


def options(folder: Path, **changes: object) -> GridOptions:
    base = GridOptions(request(), folder, x="hina = 0, 0.5, 1", y="seed = 1, 2", preview_seconds=0)
    return replace(base, **changes)  # type: ignore[arg-type]


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_everything_is_written(tmp_path: Path, renderer: FakeRenderer) -> None:
    result = run_grid(options(tmp_path), renderer)
    assert result.rendered == 6
    names = ["results.csv", "results.json", "grid.html", "means.csv", "grid.png"]
    assert [p.name for p in result.files] == names
    keys = [cell.cell.key for cell in result.cells]
    assert tree(tmp_path) == sorted(
        [f"cells/{k}.{e}" for k in keys for e in ("json", "png")] + [*names, "study.json"]
    )
    for cell in result.cells:
        with Image.open(tmp_path / cell.file) as stored:
            assert stored.tobytes() == picture(cell.cell.request).tobytes()
            assert stored.info["parameters"].endswith(f"Seed: {cell.cell.request.seed}")


def test_tables_hold_the_values_and_scores(tmp_path: Path, renderer: FakeRenderer) -> None:
    result = run_grid(options(tmp_path), renderer)
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert [(row["hina"], row["Seed"], row["seed"]) for row in rows] == [
        ("0", "1", "1"), ("0.5", "1", "1"), ("1", "1", "1"),
        ("0", "2", "2"), ("0.5", "2", "2"), ("1", "2", "2"),
    ]  # fmt: skip
    assert (rows[0]["diff %"], rows[0]["SSIM"], rows[0]["pHash"]) == ("0", "1", "0")
    assert float(rows[1]["diff %"]) == pytest.approx(result.cells[1].scores["diff %"], rel=1e-5)
    assert rows[1]["command"] == "lathe merge baseA.safetensors hina.safetensors:0.5"
    stored = json.loads((tmp_path / "results.json").read_text())
    assert [cell["request"]["adapters"][0]["te"] for cell in stored["cells"]] == [0, 0.5, 1, 0, 0.5, 1]
    assert stored["axes"][0] == {"title": "hina", "text": "0, 0.5, 1", "values": ["0", "0.5", "1"]}


def test_pictures_are_compared_with_those_of_their_own_scene(tmp_path: Path) -> None:
    """Between two seeds, or two prompts, everything differs: what is compared is the LoRA's part."""
    result = run_grid(options(tmp_path, z="prompt s/r = hat, cap"), FakeRenderer())
    scores = {one.cell.position: one.scores["diff %"] for one in result.cells}
    assert all((score == 0) == (position[0] == 0) for position, score in scores.items())
    at = page_data((tmp_path / "grid.html").read_text(encoding="utf-8"))["cells"]
    assert isinstance(at, list)
    assert [one["reference"] for one in at] == [[0, *one["position"][1:]] for one in at]
    middle = run_grid(options(tmp_path / "m", reference=(1, 0, 0)), FakeRenderer())
    assert [one.scores["diff %"] == 0 for one in middle.cells] == [False, True, False] * 2
    tags = options(
        tmp_path / "t", request=request(prompt="<lora:mio:0.3> hat", adapters=()), x="", y="s/r = 0.3, 1"
    )
    assert [one.scores["diff %"] == 0 for one in run_grid(tags, FakeRenderer()).cells] == [True, False]


def test_scores_without_a_comparison_are_hidden(tmp_path: Path) -> None:
    made = run_grid(options(tmp_path, x="cfg = 7", vary_seed="y", y="steps = 1, 2"), FakeRenderer())
    assert [set(one.scores.values()) for one in made.cells] == [{None}, {None}]
    page = page_data((tmp_path / "grid.html").read_text(encoding="utf-8"))
    assert (page["scores"], page["chosen"]) == ([], [])


@dataclass(frozen=True)
class Darkness:
    name: str = "darkness"

    def check(self) -> None:
        return

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        return [float(np.asarray(item.image).mean()) for item in items]


def test_a_page_opens_on_the_score_that_was_chosen(tmp_path: Path) -> None:
    run_grid(options(tmp_path, scorers=(*DEFAULT_SCORERS, Darkness())), FakeRenderer())
    page = page_data((tmp_path / "grid.html").read_text(encoding="utf-8"))
    assert page["chosen"] == ["darkness"]
    assert page["scores"] == ["diff %", "SSIM", "pHash", "darkness"]


def test_the_grid_picture_carries_a1111s_text(tmp_path: Path, renderer: FakeRenderer) -> None:
    run_grid(options(tmp_path), renderer)
    with Image.open(tmp_path / "grid.png") as grid:
        text = grid.info["parameters"]
    assert text.endswith(
        'Script: X/Y/Z plot, X Type: hina, X Values: "0, 0.5, 1", Y Type: Seed, Y Values: "1, 2"'
    )


def test_a_second_run_renders_nothing_and_a_new_value_only_itself(tmp_path: Path) -> None:
    run_grid(options(tmp_path), FakeRenderer())
    before = (tmp_path / "grid.png").read_bytes()
    again = FakeRenderer()
    assert run_grid(options(tmp_path), again).rendered == 0
    assert again.rendered == []
    assert (tmp_path / "grid.png").read_bytes() == before
    more = FakeRenderer()
    run_grid(options(tmp_path, x="hina = 0, 0.25, 0.5, 1"), more)
    assert {r.adapters[0].te for r in more.rendered} == {0.25}


def test_one_cell_can_be_redone(tmp_path: Path) -> None:
    run_grid(options(tmp_path), FakeRenderer())
    again = FakeRenderer()
    run_grid(options(tmp_path, redo=((2, 1, 0),)), again)
    assert [(r.adapters[0].te, r.seed) for r in again.rendered] == [(1.0, 2)]
    with pytest.raises(InputError, match="not have a cell 4 × 1 × 1"):
        run_grid(options(tmp_path, redo=((3, 0, 0),)), again)


def test_a_changed_file_renders_again(tmp_path: Path) -> None:
    lora = tmp_path / "hina.safetensors"
    lora.write_bytes(b"one")
    changed = options(
        tmp_path / "g",
        x="hina = 1",
        request=request(adapters=(replace(request().adapters[0], file=str(lora)),)),
    )
    assert run_grid(changed, FakeRenderer()).rendered == 2
    lora.write_bytes(b"other")
    assert run_grid(changed, FakeRenderer()).rendered == 2


def test_ctrl_c_keeps_finished_cells(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_grid(options(tmp_path), FakeRenderer(stop_after=4))
    stored = json.loads((tmp_path / "results.json").read_text())
    assert sum(cell["done"] for cell in stored["cells"]) == 4
    rest = FakeRenderer()
    assert run_grid(options(tmp_path), rest).rendered == 2


def test_a_cancelled_grid_keeps_finished_cells(tmp_path: Path, renderer: FakeRenderer) -> None:
    """Cells arrive as events with their files; the token stops the work at the next picture."""
    cells: list[CellEvent] = []
    cancel = Cancel()

    def receive(event: Event) -> None:
        if isinstance(event, CellEvent):
            cells.append(event)
            if len(cells) == 2:
                cancel.cancel()

    with pytest.raises(Cancelled):
        run_grid(options(tmp_path), renderer, Progress(CallableSink(receive), cancel))
    stored = json.loads((tmp_path / "results.json").read_text())
    assert sum(cell["done"] for cell in stored["cells"]) == len(cells) == 2
    assert all(Path(cell.path).is_file() for cell in cells)
    run_grid(options(tmp_path), renderer, Progress(CallableSink(receive)))
    labels = {cell.index: cell.labels for cell in cells[2:]}
    assert sorted(labels) == list(range(6))
    assert labels[0] != labels[1]
    assert {len(one) for one in labels.values()} == {2}


SLOW = """
import sys, time
from pathlib import Path
from loralathe.studies.grid import run_grid
from studies.fakes import FakeRenderer, picture
from studies.test_grid import options

drawn = []
def slowly(request):
    if len(drawn) == 4:
        time.sleep(600)  # here it is killed
    drawn.append(request)
    return picture(request)

run_grid(options(Path(sys.argv[1]), x="hina = 0-1 (+0.1)"), FakeRenderer(slowly))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_kill_9_in_mid_grid_renders_only_what_is_missing(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root / "src"), str(root / "tests")])}
    child = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)], env=environment)
    deadline = time.monotonic() + 300
    while len(list(tmp_path.glob("cells/*.json"))) < 4 and time.monotonic() < deadline:
        assert child.poll() is None, "the child ended before it was killed"
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = {path.stem for path in tmp_path.glob("cells/*.json")}
    assert len(kept) == 4
    left = [tmp_path / ".lathe-0-1.part", tmp_path / "cells" / ".lathe-2-3.part"]
    for path in left:
        path.write_bytes(b"half a picture")
    rest = FakeRenderer()
    result = run_grid(options(tmp_path, x="hina = 0-1 (+0.1)"), rest)
    assert len(rest.rendered) == 22 - len(kept)
    assert all(cell.done for cell in result.cells)
    assert not list(tmp_path.rglob("*.part"))


def test_a_grid_without_a_picture_leaves_no_page(tmp_path: Path) -> None:
    def refuse(wanted: ImageRequest) -> Image.Image:
        raise InputError("this LoRA does not fit")

    folder = tmp_path / "study"
    with pytest.raises(InputError, match="does not fit"):
        run_grid(options(folder), FakeRenderer(refuse))
    assert not folder.exists()
    run_grid(options(folder, x="hina = 0"), FakeRenderer())
    before = tree(folder)
    with pytest.raises(InputError, match="does not fit"):
        run_grid(options(folder), FakeRenderer(refuse))
    assert tree(folder) == before


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    result = run_grid(options(tmp_path), FakeRenderer())
    (tmp_path / result.cells[3].file).write_bytes(b"not a picture")
    with pytest.raises(MachineError, match="cannot be read") as caught:
        run_grid(options(tmp_path), FakeRenderer())
    assert result.cells[3].cell.key in str(caught.value)


def test_a_cell_with_any_broken_byte_opens_or_is_named(tmp_path: Path) -> None:
    """Pillow has several errors for damaged files: ValueError, SyntaxError, one for a size beyond reason."""
    store = CellStore(tmp_path)
    whole = png_bytes(Image.new("RGB", (16, 16)), {"parameters": "猫"})
    size = b"IHDR" + struct.pack(">II", 60_000, 60_000) + whole[24:29]
    damaged = [whole[:12] + size + struct.pack(">I", zlib.crc32(size)) + whole[33:]]
    for at in range(len(whole)):
        damaged += [
            whole[:at],
            *(whole[:at] + bytes([whole[at] ^ x]) + whole[at + 1 :] for x in (1, 0x55, 0x80)),
        ]
    store.picture("k").parent.mkdir()
    named = 0
    for content in damaged:
        store.picture("k").write_bytes(content)
        try:
            store.open("k")
        except MachineError:
            named += 1
    assert named > len(damaged) / 2


def test_recipes_are_evaluated_once_per_combination(tmp_path: Path, renderer: FakeRenderer) -> None:
    recipe = FakeRecipe()
    made = run_grid(
        options(
            tmp_path,
            x="seed = 1-3",
            y="M = -0.7, 0.7",
            z="rank = 4, 8",
            context=Context(recipe=recipe),
            request=request(adapters=()),
        ),
        renderer,
    )
    assert recipe.asked == [{"M": m, "rank": r} for r in (4, 8) for m in (-0.7, 0.7)]
    assert {r.checkpoint for r in renderer.rendered} == {
        f"weights:M={m},rank={r}" for m in (-0.7, 0.7) for r in (4.0, 8.0)
    }
    assert made.cells[0].recipe is not None
    assert made.cells[0].recipe.command == "lathe run article.toml --set M=-0.7 --set rank=4"
    again = FakeRecipe()
    run_grid(
        options(
            tmp_path,
            x="seed = 1-3",
            y="M = -0.7, 0.7",
            z="rank = 4, 8",
            context=Context(recipe=again),
            request=request(adapters=()),
        ),
        renderer,
    )
    assert again.asked == [], "a finished grid evaluates nothing"


def test_random_seeds_stay_with_their_folder(tmp_path: Path) -> None:
    wanted = options(tmp_path, x="cfg = 1, 2", y="seed = -1, -1", random_seed=True)
    first = run_grid(wanted, FakeRenderer())
    assert run_grid(wanted, FakeRenderer()).rendered == 0
    assert first.cells[0].cell.request.seed != first.cells[2].cell.request.seed


def test_the_preview_fills_in_and_goes_away(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def draw(wanted):  # type: ignore[no-untyped-def]
        if (tmp_path / "preview.png").exists():
            with Image.open(tmp_path / "preview.png") as preview:
                seen.append(preview.size)
        return picture(wanted)

    run_grid(options(tmp_path, preview_seconds=1e-9), FakeRenderer(draw))
    assert seen
    assert not (tmp_path / "preview.png").exists()


def test_progress_counts_pictures(tmp_path: Path, renderer: FakeRenderer) -> None:
    events: list[Event] = []
    run_grid(
        options(tmp_path, request=request(prompt="a <lora:hina:x:y:z:w>")),
        renderer,
        Progress(CallableSink(events.append)),
    )
    pictures = [event for event in events if event.task == "pictures"]
    assert (pictures[0].kind, pictures[0].total, pictures[-1].done) == ("start", 6, 6)
    assert any("tag" in event.text for event in events), "a bad tag is reported"


def page_data(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert isinstance(data, dict)
    return data


def test_the_page_is_self_contained_and_safe(tmp_path: Path, renderer: FakeRenderer) -> None:
    nasty = "</script><script>alert(1)</script> {{data}} & <b>"
    result = run_grid(options(tmp_path, request=request(prompt=nasty), title="<i>標題</i>"), renderer)
    page = (tmp_path / "grid.html").read_text(encoding="utf-8")
    data = page_data(page)
    assert "alert(1)</script>" not in page
    assert "<i>標題" not in page
    assert not re.findall(r'(?:src|href)\s*=\s*"(?:https?:)?//', page)
    cells = data["cells"]
    assert isinstance(cells, list)
    assert [cell["src"] for cell in cells] == [cell.file for cell in result.cells]
    assert cells[1]["command"]["command"].startswith("lathe merge ")


def test_pictures_can_be_embedded(tmp_path: Path, renderer: FakeRenderer) -> None:
    result = run_grid(options(tmp_path, embed=True), renderer)
    data = page_data((tmp_path / "grid.html").read_text(encoding="utf-8"))
    assert all(cell["src"].startswith("data:image/png;base64,") for cell in data["cells"])  # type: ignore[attr-defined]
    live = grid_page(result.plan, result.cells, title="t", folder=tmp_path, live=True)
    assert page_data(live.decode())["live"] is True


def test_an_unwritable_folder_is_the_machines_fault(tmp_path: Path, renderer: FakeRenderer) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MachineError, match="could not be written"):
        run_grid(options(tmp_path / "file" / "grid"), renderer)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"request": request(prompt="2girls")}, "prompt"),
        ({"request": request(negative="ugly", steps=9)}, "negative, steps"),
        ({"request": request(checkpoint="baseB.safetensors")}, "checkpoint"),
        ({"request": request(adapters=(use("mio.safetensors"),)), "x": "mio = 0, 0.5"}, "LoRAs, axes"),
        ({"y": "cfg = 1, 2"}, "axes"),
        ({"y": "seed = 8, 9"}, "axes"),
        ({"z": "cfg = 1, 2"}, "axes"),
    ],
)
def test_the_folder_of_another_study_stays(tmp_path: Path, changes: dict[str, object], found: str) -> None:
    run_grid(options(tmp_path), FakeRenderer())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with pytest.raises(InputError, match="belongs to another study") as caught:
        run_grid(options(tmp_path, **changes), FakeRenderer())
    assert caught.value.where == f"{tmp_path}, not the same: {found}"
    assert "output=FOLDER" in str(caught.value.fix)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    run_grid(options(tmp_path, **changes, force=True), FakeRenderer())
    with pytest.raises(InputError, match="belongs to another study"):
        run_grid(options(tmp_path), FakeRenderer())


def test_the_same_study_goes_on(tmp_path: Path) -> None:
    """With more or fewer values, turned axes, another title, from another folder, after its files moved."""
    folder, lora = tmp_path / "study", tmp_path / "hina.safetensors"
    lora.write_bytes(b"one")

    def made(place: Path, **changes: object) -> int:
        adapters = (replace(request().adapters[0], file=str(place / "hina.safetensors")),)
        wanted = options(place / "study", request=request(adapters=adapters), **changes)
        return run_grid(wanted, FakeRenderer()).rendered

    assert made(tmp_path) == 6
    assert made(tmp_path, x="hina = 0, 0.25") == 2
    assert made(tmp_path, x="seed = 1, 2, 3", y="hina = 0, 0.25", title="t", embed=True) == 2
    moved = tmp_path / "moved"
    moved.mkdir()
    folder.rename(moved / "study")
    lora.rename(moved / "hina.safetensors")
    assert made(moved, x="seed = 1, 2, 3", y="hina = 0, 0.25") == 0
    (moved / "study" / "study.json").write_text("[1]")
    assert made(moved) == 0, "what cannot be read says nothing"
