"""Studies of pictures that another program draws."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import loralathe
from checkpoints import tiny_lora, write_safetensors
from loralathe import AdapterUse, InputError


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("given") / "hina.safetensors"
    return write_safetensors(file, tiny_lora("sd1", rank=2, alpha=1.0, seed=2))


def picture(level: int) -> np.ndarray:
    """A grey one with a darker half."""
    pixels = np.full((24, 32, 3), level, np.uint8)
    pixels[:, :16] //= 2
    return pixels


def test_blocks_are_measured_against_the_first_picture(lora: Path, tmp_path: Path) -> None:
    study = loralathe.given_blocks(
        AdapterUse(str(lora), te=0.7, unet=0.7), output=tmp_path / "out", blocks="BASE, IN04, OUT03-OUT05",
        range="0,1", size=(32, 24), checkpoint="mine",
    )  # fmt: skip
    texts = [request.adapters[0].blocks for request in study.requests]
    assert texts == [None, "BASE=0", "IN04=0", "OUT03=0,OUT04=0,OUT05=0"]
    assert {request.adapters[0].unet for request in study.requests} == {0.7}
    report = study.finish([picture(200), picture(200), picture(100), picture(178)])
    found = {effect.group.name: effect.changed.mean for effect in report.effects}
    assert found == {"BASE": 0.0, "IN04": 100.0, "OUT03-OUT05": pytest.approx(50.0)}
    assert {effect.group.name: effect.weight for effect in report.effects}["BASE"] == 0
    assert {file.name for file in report.files} >= {"blocks-0.png", "blocks.json", "blocks.html"}


def test_a_grid_shows_each_picture_at_its_place(lora: Path, tmp_path: Path) -> None:
    study = loralathe.given_grid(
        lora, output=tmp_path / "grid", x="hina = 0, 0.5, 1", y="seed = 3, 4", size=(32, 24), seed=3
    )
    asked = [(request.adapters[0].unet, request.seed) for request in study.requests]
    assert sorted(asked) == sorted((s, n) for s in (0, 0.5, 1) for n in (3, 4))
    levels = {one: 40 * number + 20 for number, one in enumerate(asked)}
    result = study.finish([picture(levels[one]) for one in asked])
    shown = json.loads((tmp_path / "grid" / "results.json").read_text("utf-8"))
    assert [axis["title"] for axis in shown["axes"]] == ["hina", "Seed"]
    assert (tmp_path / "grid" / "grid.png").is_file()
    from PIL import Image

    for cell in result.cells:
        with Image.open(tmp_path / "grid" / cell.file) as image:
            level = image.convert("RGB").getpixel((20, 5))
        request = cell.cell.request
        assert level == (levels[request.adapters[0].unet, request.seed],) * 3


def test_mistakes_are_told_before_anything_is_drawn(lora: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no LoRA"):
        loralathe.given_grid(output=tmp_path / "x", x="seed = 1, 2")
    with pytest.raises(InputError, match="range"):
        loralathe.given_blocks(lora, output=tmp_path / "x", range="1")
    with pytest.raises(InputError, match="there is no axis"):
        loralathe.given_grid(lora, output=tmp_path / "x", x="hima = 1, 2")
    study = loralathe.given_grid(lora, output=tmp_path / "x", x="hina = 0, 1")
    with pytest.raises(InputError, match="1 picture for a study of 2"):
        study.finish([picture(0)])
    with pytest.raises(InputError, match="different sizes"):
        study.finish([picture(0), picture(0)[:8]])
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_neither_diffusers_nor_transformers_are_needed(lora: Path, tmp_path: Path) -> None:
    """A program that draws the pictures itself has other libraries."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['diffusers', 'transformers', 'accelerate']))\n"
        "import numpy as np, loralathe\n"
        f"lora, folder = {str(lora)!r}, {str(tmp_path)!r}\n"
        "study = loralathe.given_blocks(lora, output=folder + '/out', blocks='IN04,OUT03')\n"
        "study.finish([np.full((64, 64, 3), level, np.uint8) for level in (9, 90, 200)])\n"
        "grid = loralathe.given_grid(lora, output=folder + '/grid', x='hina = 0, 1')\n"
        "grid.finish([np.full((64, 64, 3), level, np.uint8) for level in (9, 90)])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
