"""A real A1111 or Forge: our tab in it, and `--on a1111://…`: `WEBUI_DIR=… make test-webui`."""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import loralathe
from browser import CHROMIUM, needs_browser
from elsewhere.real import PICTURE, USE, differ, running, write_models
from loralathe.integrations import install
from loralathe.rendering.elsewhere import webui
from loralathe.rendering.infotext import png_text, read_infotext

WEBUI = os.environ.get("WEBUI_DIR")
PYTHON = os.environ.get("WEBUI_PYTHON", sys.executable)
FLAGS = (
    "--skip-prepare-environment", "--skip-torch-cuda-test", "--skip-install", "--skip-python-version-check",
    "--api",
)  # fmt: skip
FORGES, A1111S = ("--always-cpu",), ("--use-cpu", "all", "--no-half")
"""How each computes on a processor, in fp32."""
SAME = ("Steps", "Sampler", "Schedule type", "Seed", "Size", "Model", "RNG")

pytestmark = [
    pytest.mark.webui,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not WEBUI, reason="WEBUI_DIR names no A1111 or Forge"),
]


@dataclass(frozen=True)
class Program:
    """base: the folder of its files;  port: where it answers."""

    base: Path
    port: int

    @property
    def address(self) -> str:
        return f"a1111://127.0.0.1:{self.port}"

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def post(self, path: str, headers: Mapping[str, str]) -> Any:
        asked = urllib.request.Request(f"{self.page}{path}", b"", dict(headers), method="POST")
        with urllib.request.urlopen(asked, timeout=300) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    base = tmp_path_factory.mktemp("webui")
    write_models(base / "models/Stable-diffusion", base / "models/Lora")
    for name in ("extensions", "modules"):
        (base / name).mkdir()
    (base / "modules/script_callbacks.py").touch()  # by it `install` knows the program
    install("webui", base)

    def words(port: int) -> list[str]:
        places = ["--data-dir", str(base), "--gradio-allowed-path", str(WEBUI)]
        own = FORGES if Path(WEBUI or "", "modules_forge").is_dir() else A1111S
        return [PYTHON, "launch.py", *FLAGS, *own, "--port", str(port), *places]

    assert WEBUI is not None
    try:
        # The door is the last that our extension adds.
        with running(words, WEBUI, "/loralathe/parts/none", {"HF_HUB_OFFLINE": "1"}) as port:
            yield Program(base, port)
    finally:
        shutil.rmtree(base)


def test_its_picture_is_ours(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With emphasis, a negative prompt and block weights, once by its folder and once by its door."""
    told: list[str] = []
    check = webui._check_info
    monkeypatch.setattr(webui, "_check_info", lambda info, *rest: (told.append(info), check(info, *rest)))
    checkpoint = program.base / "models/Stable-diffusion/base.safetensors"
    loras = program.base / "models/Lora"
    with loralathe.open_model("base", on=program.address, webui=program.base) as model:
        (theirs,) = model.render(USE, output=tmp_path / "theirs.png", **PICTURE)  # type: ignore[arg-type]
        (without,) = model.render(output=tmp_path / "without.png", **PICTURE)  # type: ignore[arg-type]
    monkeypatch.setenv("LORALATHE_TOKEN", (program.base / ".loralathe-token").read_text())
    with loralathe.open_model(checkpoint, on=program.address, lora_dir=loras) as model:
        (door,) = model.render(USE, output=tmp_path / "door.png", **PICTURE)  # type: ignore[arg-type]
    with loralathe.open_model(checkpoint, device="cpu", lora_dir=loras) as model:
        (ours,) = model.render(USE, output=tmp_path / "ours.png", **PICTURE)  # type: ignore[arg-type]
    largest, mean = differ(theirs, ours, "block weights")
    assert largest <= 4
    assert differ(without, ours, "the LoRA")[1] > 4 * mean
    assert differ(door, theirs, "by the folder and by the door") == (0, 0.0)
    assert [path.name for path in loras.iterdir()] == ["hina.safetensors"]
    said, asked = (
        read_infotext(text) for text in (json.loads(told[1])["infotexts"][0], png_text(without) or "")
    )
    assert {name: said.entries.get(name) for name in SAME} == {name: asked.entries.get(name) for name in SAME}
    assert float(said.entries["CFG scale"]) == float(asked.entries["CFG scale"])
    assert (said.prompt, said.negative) == (asked.prompt, asked.negative)


def test_hires_fix_is_ours(program: Program, tmp_path: Path) -> None:
    picture: dict[str, Any] = {**PICTURE, "hires": 1.5, "hires_denoising": 0.6, "hires_steps": 3}
    checkpoint = program.base / "models/Stable-diffusion/base.safetensors"
    with loralathe.open_model("base", on=program.address, webui=program.base) as model:
        (theirs,) = model.render(output=tmp_path / "theirs.png", **picture)
    with loralathe.open_model(checkpoint, device="cpu") as model:
        (ours,) = model.render(output=tmp_path / "ours.png", **picture)
    assert differ(theirs, ours, "hires fix")[0] <= 4


def test_the_tab_starts_the_workshop_in_our_python(program: Program) -> None:
    address = program.post("loralathe/start", {"X-Lathe": "1"})["address"]
    with urllib.request.urlopen(address, timeout=60) as page:
        assert b"loralathe" in page.read()
    assert program.post("loralathe/start", {"X-Lathe": "1"})["address"] == address


@needs_browser
def test_prompt_and_settings_of_its_page_are_sent(program: Program) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(program.page)
        button = page.locator("#image_buttons_txt2img .loralathe-send")
        button.wait_for(timeout=300_000)
        page.locator("#txt2img_prompt textarea").fill("hina, smiling")
        page.locator("#txt2img_neg_prompt textarea").fill("blurry")
        page.locator("#txt2img_seed input").first.fill("77")
        button.click()
        frame = page.frame_locator("#loralathe iframe")
        field = frame.locator('[data-field="prompt"] textarea').first
        field.wait_for(timeout=300_000)
        page.wait_for_timeout(2000)
        fields = "input, textarea, select"
        values = {
            name: frame.locator(f'[data-field="{name}"]').locator(fields).first.input_value()
            for name in ("prompt", "negative", "steps", "cfg", "seed", "sampler", "schedule", "size")
        }
        picture = os.environ.get("WEBUI_PICTURE")
        if picture:
            page.screenshot(path=picture)
        browser.close()
    print(values)
    assert (values["prompt"], values["negative"], values["seed"]) == ("hina, smiling", "blurry", "77")
    assert all(values[name] for name in ("steps", "cfg", "sampler", "schedule", "size"))
