"""`--on comfyui://…` with a real ComfyUI: `COMFYUI_DIR=… make test-comfyui`.

ComfyUI knows models by their widths, so the model is a whole SD 1.5, of random numbers.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import loralathe
from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors

COMFYUI = os.environ.get("COMFYUI_DIR")
PYTHON = os.environ.get("COMFYUI_PYTHON", sys.executable)
START_SECONDS = 600
USE = "hina:te=0.5:unet=0.8:BASE=1, IN04=0.25, OUT05=0.5, *=0"

pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not COMFYUI, reason="COMFYUI_DIR names no ComfyUI"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """ComfyUI's folder, with a model and a LoRA."""
    folder = tmp_path_factory.mktemp("comfyui-base")
    for kind in ("checkpoints", "loras"):
        (folder / "models" / kind).mkdir(parents=True)
    model = tiny_checkpoint("sd1", seed=1, width_divisor=1, std=0.02, dtype="F16")
    write_safetensors(folder / "models/checkpoints/base.safetensors", model)
    del model
    lora = tiny_lora("sd1", rank=4, alpha=2.0, seed=2, width_divisor=1, std=0.05)
    write_safetensors(folder / "models/loras/hina.safetensors", lora)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    page = tmp_path_factory.mktemp("page")
    (page / "index.html").write_text("<html></html>")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        PYTHON, "main.py", "--cpu", "--port", str(port), "--base-directory", str(base),
        "--front-end-root", str(page), "--disable-all-custom-nodes",
        "--database-url", f"sqlite:///{page / 'comfy.db'}",
    ]  # fmt: skip
    surroundings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    running = subprocess.Popen(words, cwd=COMFYUI, env=surroundings, stderr=subprocess.DEVNULL)
    until = time.monotonic() + START_SECONDS
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/queue").close()
                break
            except OSError:
                assert running.poll() is None, "ComfyUI ended"
                assert time.monotonic() < until, "ComfyUI does not begin"
                time.sleep(1)
        yield f"comfyui://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait()


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_its_picture_is_ours(base: Path, server: str, tmp_path: Path) -> None:
    """With emphasis, a negative prompt and block weights; both compute in fp32. ComfyUI cuts, we round."""
    picture = {"prompt": "a (girl:1.2), smiling", "negative": "bad", "seed": 1, "steps": 2, "cfg": 7.0}
    picture |= {"size": "64x64", "sampler": "Euler"}
    with loralathe.open_model("base", on=server, comfyui=base) as model:
        (theirs,) = model.render(USE, output=tmp_path / "theirs.png", **picture)  # type: ignore[arg-type]
        (without,) = model.render(output=tmp_path / "without.png", **picture)  # type: ignore[arg-type]
    checkpoint = base / "models/checkpoints/base.safetensors"
    with loralathe.open_model(checkpoint, device="cpu", lora_dir=base / "models/loras") as model:
        (ours,) = model.render(USE, output=tmp_path / "ours.png", **picture)  # type: ignore[arg-type]
    difference = np.abs(pixels(theirs) - pixels(ours))
    print("differ by", difference.max(), difference.mean())
    assert difference.max() <= 4
    assert np.abs(pixels(without) - pixels(ours)).mean() > 4 * difference.mean()
    assert [path.name for path in (base / "models/loras").iterdir()] == ["hina.safetensors"]
    assert not list(base.glob("output/**/*.png"))
