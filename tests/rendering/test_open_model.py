"""A model that is opened once: its renders, grids and block studies share the loaded networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

import loralathe
from checkpoints import write_safetensors
from loralathe.progress import CallableSink, Cancel, Cancelled, CellEvent, Event, Progress
from rendering.conftest import make_checkpoint, make_lora

PICTURE: dict[str, Any] = {"size": "64x64", "steps": 2, "sampler": "Euler", "seed": 7, "prompt": "girl"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open-model")
    write_safetensors(folder / "base.safetensors", make_checkpoint("sd1"))
    write_safetensors(folder / "hina.safetensors", make_lora("sd1", seed=5))
    return folder


def pixels(path: Path) -> bytes:
    with Image.open(path) as picture:
        return picture.tobytes()


def test_networks_are_loaded_once(models: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    progress = Progress(CallableSink(events.append))
    hina = models / "hina.safetensors"
    with loralathe.open_model(models / "base.safetensors", device="cpu", progress=progress) as model:
        (one,) = model.render(hina, output=tmp_path / "one.png", **PICTURE)
        result = model.grid(hina, x="hina = 0, 1", output=tmp_path / "grid", scorers=["none"], **PICTURE)
        report = model.blocks(hina, blocks="BASE, MID", output=tmp_path / "blocks", **PICTURE)
    loads = [event for event in events if event.kind == "start" and event.task.startswith("loading")]
    assert len(loads) == 1
    cells = [event for event in events if isinstance(event, CellEvent)]
    assert [(cell.task, cell.labels) for cell in cells if cell.task != "blocks"] == [
        ("render", ("seed 7",)), ("grid", ("0",)), ("grid", ("1",)),
    ]  # fmt: skip
    assert {cell.labels[0] for cell in cells if cell.task == "blocks"} == {"", "BASE", "MID"}
    both = (np.frombuffer(pixels(found), np.uint8) for found in (Path(cells[2].path), one))
    first, second = (found.astype(int) for found in both)
    assert abs(first - second).max() <= 1, "a batch adds its sums in another order"
    assert result.rendered == 2
    assert report.pictures == 3


def test_a_state_dict_is_rendered_like_its_file(models: Path, tmp_path: Path) -> None:
    state = load_file(models / "base.safetensors")
    base = models / "base.safetensors"
    (one,) = loralathe.render(base, output=tmp_path / "a.png", device="cpu", **PICTURE)
    (other,) = loralathe.render(state, output=tmp_path / "b.png", device="cpu", **PICTURE)
    assert pixels(one) == pixels(other)


def test_the_cells_of_a_study_belong_to_the_tensors_of_a_state_dict(models: Path, tmp_path: Path) -> None:
    """The same tensors find their cells again; others are another study, drawn anew where it is replaced."""
    state = load_file(models / "base.safetensors")
    key = "model.diffusion_model.out.2.bias"
    other = state | {key: state[key] + 1.0}
    rendered = []
    into = {"x": "cfg = 2, 4", "output": tmp_path / "grid", "scorers": ["none"], "device": "cpu", **PICTURE}
    for tensors in (state, dict(state)):
        rendered.append(loralathe.grid(tensors, **into).rendered)
    with pytest.raises(loralathe.InputError, match="belongs to another study"):
        loralathe.grid(other, **into)
    rendered.append(loralathe.grid(other, **into, force=True).rendered)
    assert rendered == [2, 0, 2]


def test_a_plan_loads_nothing(models: Path, tmp_path: Path) -> None:
    hina = models / "hina.safetensors"
    with loralathe.open_model(models / "base.safetensors", device="no such device") as model:
        grid = model.prepare_grid(hina, x="hina = 0, 1", output=tmp_path / "grid", **PICTURE)
        blocks = model.prepare_blocks(hina, output=tmp_path / "blocks", **PICTURE)
        assert len(grid.plan().cells) == 2
        assert blocks.plan().pictures == len(blocks.plan().blocks) + 1
    assert not list(tmp_path.iterdir())


def test_a_cancelled_render_stops_between_steps(models: Path, tmp_path: Path) -> None:
    cancel = Cancel()

    def receive(event: Event) -> None:
        if event.task == "rendering" and event.kind == "advance":
            cancel.cancel()

    progress = Progress(CallableSink(receive), cancel)
    with pytest.raises(Cancelled):
        loralathe.render(
            models / "base.safetensors", output=tmp_path / "x.png", device="cpu", progress=progress, **PICTURE
        )
    assert not list(tmp_path.iterdir())


def test_a_lora_in_memory_is_refused_in_words(models: Path, tmp_path: Path) -> None:
    with pytest.raises(loralathe.InputError, match="a LoRA of pictures is a file") as caught:
        loralathe.render(
            models / "base.safetensors",
            make_lora("sd1", seed=5),
            output=tmp_path / "x.png",
            **PICTURE,  # type: ignore[arg-type]
        )
    assert "save_file" in (caught.value.fix or "")
