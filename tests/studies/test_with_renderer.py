"""Studies with the real renderer on small models: strengths, blocks and names mean the same there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from checkpoints import write_safetensors
from loralathe.families.sd1 import SD1
from loralathe.rendering.local import LocalRenderer
from loralathe.rendering.request import ImageRequest
from loralathe.studies.analyzer import BlocksOptions, analyze_blocks
from loralathe.studies.context import gather_context
from loralathe.studies.grid import GridOptions, run_grid
from loralathe.studies.metrics import changed_percentage, pixels_of
from rendering.conftest import make_checkpoint, make_lora

BASE = ImageRequest(
    "tiny", prompt="a girl <lora:hina:0.8>", steps=2, width=64, height=64, sampler="Euler", seed=3
)


@pytest.fixture(scope="module")
def loras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loras")
    write_safetensors(folder / "hina.safetensors", make_lora("sd1"))
    return folder


@pytest.fixture(scope="module")
def renderer(loras: Path) -> Iterator[LocalRenderer]:
    with LocalRenderer("cpu", lora_dirs=[loras], weights={"tiny": make_checkpoint("sd1")}) as local:
        yield local


def test_a_grid_of_strengths_and_blocks(tmp_path: Path, loras: Path, renderer: LocalRenderer) -> None:
    context = gather_context(SD1, lora_dirs=[loras], presets={"Mine": "IN04=0.5,*=0"})
    made = run_grid(
        GridOptions(
            BASE,
            tmp_path,
            x="hina = 0, 0.5",
            y="hina blocks = ALL, NONE, Mine",
            context=context,
            preview_seconds=0,
        ),
        renderer,
    )
    pictures = {cell.cell.labels[:2]: np.asarray(Image.open(tmp_path / cell.file)) for cell in made.cells}
    for blocks in ("ALL", "NONE", "Mine"):
        assert np.array_equal(pictures["0", blocks], pictures["0", "ALL"]), "strength 0 is the checkpoint"
    assert np.array_equal(pictures["0.5", "NONE"], pictures["0", "ALL"])
    assert not np.array_equal(pictures["0.5", "Mine"], pictures["0", "ALL"])
    assert not np.array_equal(pictures["0.5", "Mine"], pictures["0.5", "ALL"])
    with Image.open(tmp_path / made.cells[1].file) as cell:
        assert "<lora:hina:0.5:lbw=ALL>" in cell.info["parameters"]


def test_an_analysis(tmp_path: Path, loras: Path, renderer: LocalRenderer) -> None:
    context = gather_context(SD1, lora_dirs=[loras])
    options = BlocksOptions(
        BASE, tmp_path, range="0,1", blocks="BASE, IN01, MID, IN03", threshold=0, context=context
    )
    report = analyze_blocks(options, renderer)
    changed = {effect.group.name: effect.changed.mean for effect in report.effects}
    assert changed["IN03"] == 0, "a down-sampler has no module in this adapter"
    assert min(changed["BASE"], changed["IN01"], changed["MID"]) > 0
    test, source = (
        pixels_of(Image.open(tmp_path / "cells" / f"{key}.png"))
        for key in (report.effects[0].keys[0], report.sources[0])
    )
    assert changed["BASE"] == changed_percentage(test, source, 0)
