"""`--on comfyui://…` with a real ComfyUI: `COMFYUI_DIR=… make test-comfyui`."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import loralathe
from elsewhere.real import LIST, PICTURE, USE, differ, running, write_models
from loralathe.integrations import install

COMFYUI = os.environ.get("COMFYUI_DIR")
PYTHON = os.environ.get("COMFYUI_PYTHON", sys.executable)

pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not COMFYUI, reason="COMFYUI_DIR names no ComfyUI"),
]
PICTURES: dict[str, dict[str, Any]] = {
    "block weights": {},
    "hires fix of latents": {"hires": 1.5, "hires_denoising": 0.6, "hires_steps": 3},
    "hires fix of pixels": {"hires": 1.5, "hires_upscaler": "Lanczos", "hires_denoising": 0.6},
    "an embedding": {"prompt": "a girl, (odd.words:1.1), smiling"},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """ComfyUI's folder, with a model, a LoRA, an embedding of two vectors, and our nodes."""
    folder = tmp_path_factory.mktemp("comfyui-base")
    write_models(folder / "models/checkpoints", folder / "models/loras")
    (folder / "models/embeddings").mkdir()
    vectors = torch.randn((2, 768), generator=torch.Generator().manual_seed(3)) * 0.05
    save_file({"emb_params": vectors}, str(folder / "models/embeddings/odd.words.safetensors"))
    for name in ("custom_nodes", "user"):
        (folder / name).mkdir()
    install("comfyui", folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    page = tmp_path_factory.mktemp("page")
    (page / "index.html").write_text("<html></html>")

    def words(port: int) -> list[str]:
        return [
            PYTHON, "main.py", "--cpu", "--port", str(port), "--base-directory", str(base),
            "--front-end-root", str(page), "--database-url", f"sqlite:///{page / 'comfy.db'}",
        ]  # fmt: skip

    assert COMFYUI is not None
    sources = {"PYTHONPATH": str(Path(loralathe.__file__).parents[1])}
    with running(words, COMFYUI, "/queue", sources) as port:
        yield f"comfyui://127.0.0.1:{port}"


@pytest.mark.parametrize("name", PICTURES)
def test_its_picture_is_ours(base: Path, server: str, tmp_path: Path, name: str) -> None:
    """With emphasis, a negative prompt and block weights; both compute in fp32. ComfyUI cuts, we round."""
    picture: dict[str, Any] = {**PICTURE, **PICTURES[name]}
    if name == "an embedding":
        picture["embeddings"] = base / "models/embeddings"
    embeddings = {"embeddings": picture.pop("embeddings", ())}
    with loralathe.open_model("base", on=server, comfyui=base, **embeddings) as model:
        (theirs,) = model.render(USE, output=tmp_path / "theirs.png", **picture)
        (without,) = model.render(output=tmp_path / "without.png", **picture)
    checkpoint, loras = base / "models/checkpoints/base.safetensors", base / "models/loras"
    with loralathe.open_model(checkpoint, device="cpu", lora_dir=loras, **embeddings) as model:
        (ours,) = model.render(USE, output=tmp_path / "ours.png", **picture)
    with loralathe.open_model(checkpoint, device="cpu", lora_dir=loras) as model:
        (plain,) = model.render(
            USE, output=tmp_path / "plain.png", **{**picture, "prompt": PICTURE["prompt"]}
        )
    largest, mean = differ(theirs, ours, name)
    # Between the passes of a hires fix of pixels they are cut there and rounded here: then all is drawn anew.
    assert largest <= (8 if "pixels" in name else 4)
    assert mean <= 1
    assert differ(without, ours, "the LoRA")[1] > 4 * mean
    if name == "an embedding":
        assert differ(plain, ours, "other words")[1] > 2 * mean
    assert [path.name for path in loras.iterdir()] == ["hina.safetensors"]
    assert not list(base.glob("output/**/*.png"))


def test_block_weights_go_through_its_door(
    base: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, loras = base / "models/checkpoints/base.safetensors", base / "models/loras"
    with loralathe.open_model(checkpoint, on=server, comfyui=base) as model:
        (one,) = model.render(USE, output=tmp_path / "folder.png", **PICTURE)  # type: ignore[arg-type]
    monkeypatch.setenv("LORALATHE_TOKEN", (base / "user/loralathe/token").read_text())
    with loralathe.open_model(checkpoint, on=server, lora_dir=loras) as model:
        (other,) = model.render(USE, output=tmp_path / "door.png", **PICTURE)  # type: ignore[arg-type]
    assert differ(one, other, "by the folder and by the door") == (0, 0.0)
    assert [path.name for path in loras.iterdir()] == ["hina.safetensors"]


def test_errors_of_our_nodes_are_in_the_language_of_who_queues(server: str) -> None:
    """A page in the browser's own language leaves no setting behind."""
    page = server.replace("comfyui:", "http:")
    fields = {"lora": "hina.safetensors", "strength_model": 1.0, "strength_clip": 1.0, "elements": ""}
    more = {"rank": 0, "conv_rank": 0, "dtype": "fp16", "file": "", "overwrite": False}
    graph = {
        "1": {"class_type": "LatheLora", "inputs": fields | {"preset": "OUTALL", "blocks": LIST}},
        "2": {"class_type": "LatheCombine", "inputs": more | {"loras": ["1", 2]}},
    }

    def told(language: str) -> str:
        headers = {"Accept-Language": language, "Content-Type": "application/json"}
        body = json.dumps({"prompt": graph}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{page}/prompt", body, headers)) as answer:
            prompt = json.loads(answer.read())["prompt_id"]
        for _ in range(600):
            with urllib.request.urlopen(f"{page}/history/{prompt}") as answer:
                found = json.loads(answer.read())
            if found:
                messages = dict(found[prompt]["status"]["messages"])
                return str(messages["execution_error"]["exception_message"])
            time.sleep(0.1)
        raise AssertionError("it does not run")

    assert "選了一個分層清單，又寫了另一個" in told("zh-TW,zh;q=0.9,en;q=0.8")
    assert "a block list is chosen, and another one is written" in told("en")
