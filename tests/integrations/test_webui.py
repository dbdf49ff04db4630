"""The extension for A1111 and Forge, loaded by a stand-in of their callbacks, and its page in Chromium."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import loralathe
from browser import CHROMIUM, needs_browser
from checkpoints import tiny_lora, write_safetensors
from integrations.webui_stand_in import EXTENSION, Webui
from loralathe import InputError
from loralathe.integrations import install

MARK = {"x-lathe": "1"}
PAGE = """<!doctype html><meta charset=utf-8><script src=/loralathe.js></script>
<div id=tabs><div class=tab-nav><button onclick="show(this)">txt2img</button>
<button onclick="show(this)">loralathe</button></div>
<section id=first><div id=txt2img_prompt><textarea>hina, smiling</textarea></div>
<div id=txt2img_neg_prompt><textarea>blurry</textarea></div>
<div id=txt2img_steps><input type=number value=12></div>
<div id=txt2img_cfg_scale><input type=number value=6.5></div>
<div id=txt2img_seed><input type=number value=77></div>
<div id=txt2img_width><input type=number value=64></div>
<div id=txt2img_height><input type=number value=96></div>
<div id=txt2img_sampling><input value="Euler a"></div><div id=txt2img_scheduler>
<input type=radio name=s value=Automatic><input type=radio name=s value=Karras checked></div>
<div id=image_buttons_txt2img></div></section>
<section id=second hidden>TAB</section></div>
<script>function show(button) { const ours = button.textContent == "loralathe";
document.getElementById("first").hidden = ours;
document.getElementById("second").hidden = !ours; }</script>"""
"""What the extension needs of A1111's page: ids of fields, the row of buttons, tabs."""


@pytest.fixture
def webui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Webui]:
    base = tmp_path / "webui"
    made = Webui(base, lora_dir=str(base / "models/Lora"), ckpt_dirs=[str(tmp_path / "more")])
    (tmp_path / "more").mkdir()
    write_safetensors(base / "models/Lora/hina.safetensors", tiny_lora("sd1", rank=2, alpha=1, seed=1))
    lists = tmp_path / "webui/extensions/sd-webui-lora-block-weight/scripts/lbwpresets.txt"
    lists.parent.mkdir(parents=True)
    lists.write_text("MyFace:1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1\n", "utf-8")
    yield made
    made.close()


def noted(folder: Path) -> Path:
    """As `lathe install webui` notes down where loralathe is."""
    note = folder / "python.txt"
    note.write_text(f"{sys.executable}\n{Path(loralathe.__file__).parents[1]}\n", "utf-8")
    return note


def starter() -> Any:
    """The extension's module that starts the workshop."""
    spec = importlib.util.spec_from_file_location("loralathe_beside", EXTENSION / "loralathe_beside.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


def answer_of(address: str, path: str = "/") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def keep(address: str, name: str, text: str | None) -> None:
    """Keep a block list in the workshop, or remove it."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.netloc, timeout=60)
    headers = {"Content-Type": "application/json", "X-Lathe": "1", "Origin": f"http://{place.netloc}"}
    try:
        body = json.dumps({"list": text})
        connection.request("DELETE" if text is None else "PUT", f"/api/presets/{name}", body, headers)
        assert connection.getresponse().status == 200
    finally:
        connection.close()


def is_open(address: str) -> bool:
    try:
        return answer_of(address)[0] == 200
    except OSError:
        return False


def test_the_folders_are_those_of_the_program(
    webui: Webui, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = webui.load(monkeypatch.setitem)
    base = tmp_path / "webui"
    assert script.folders() == {
        "checkpoints": [base / "models/Stable-diffusion", tmp_path / "more"],
        "loras": [base / "models/Lora"],
        "vaes": [base / "models/VAE"],
        "embeddings": [base / "embeddings"],
    }
    assert script.presets() == base / "extensions/sd-webui-lora-block-weight/scripts/lbwpresets.txt"
    ((page, title, name),) = webui.tabs()
    assert (title, name) == ("loralathe", "loralathe_tab")
    assert page.html == ['<div id="loralathe"></div>']


@pytest.mark.long
def test_the_workshop_starts_once_and_ends_with_the_program(
    webui: Webui, monkeypatch: pytest.MonkeyPatch
) -> None:
    webui.load(monkeypatch.setitem)
    assert webui.ask("/loralathe/start", {}, 7860)[0] == 403
    assert webui.ask("/loralathe/start", MARK, 7860, client="192.168.0.9")[0] == 403
    status, told = webui.ask("/loralathe/start", MARK, 7860)
    assert status == 200, told
    address = told["address"]
    code, headers, _ = answer_of(address)
    assert code == 200
    policy = headers["content-security-policy"]
    assert policy.endswith("frame-ancestors http://127.0.0.1:7860 http://localhost:7860")
    assert webui.ask("/loralathe/start", MARK, 7860)[1]["address"] == address
    lists = json.loads(answer_of(address, "/api/presets")[2])["lists"]
    assert lists == {"MyFace": "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1"}
    file = webui.base / "extensions/sd-webui-lora-block-weight/scripts/lbwpresets.txt"
    mine = "1,0,0,0,0,0,1,0.5,1,1,1,1"
    keep(address, "Mine", mine)
    keep(address, "ByName", "IN04=0.3,*=1")
    assert file.read_text("utf-8") == f"MyFace:1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1\nMine:{mine}\n"
    keep(address, "Mine", "IN04=0.5,*=1")
    keep(address, "MyFace", None)
    assert file.read_text("utf-8") == ""
    lists = json.loads(answer_of(address, "/api/presets")[2])["lists"]
    assert lists == {"ByName": "IN04=0.3,*=1", "Mine": "IN04=0.5,*=1"}
    webui.close()
    assert not is_open(address)


@pytest.mark.slow
def test_it_ends_when_the_program_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom loralathe_beside import WorkshopBeside\n"
        "out, note = map(Path, sys.argv[1:])\nprint(WorkshopBeside(out, note=note).start(), flush=True)\n"
        "time.sleep(600)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "out"), str(noted(tmp_path))]
    surroundings = {**os.environ, "PYTHONPATH": str(EXTENSION)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=surroundings) as parent:
        assert parent.stdout is not None
        address = parent.stdout.readline().strip()
        assert is_open(address)
        parent.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
        parent.wait()
    until = time.monotonic() + 60
    while is_open(address) and time.monotonic() < until:
        time.sleep(0.1)
    assert not is_open(address)


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    beside, note = starter(), noted(tmp_path)
    with pytest.raises(beside.NotStartedError, match="no such folder"):
        beside.WorkshopBeside(tmp_path / "out", {"loras": [tmp_path / "nowhere"]}, note=note).start()
    with pytest.raises(beside.NotStartedError, match="is not known") as caught:
        beside.WorkshopBeside(tmp_path / "out", note=tmp_path / "none.txt").start()
    assert caught.value.fix == "lathe install webui DIR --force"
    note.write_text(str(tmp_path / "gone/python"))
    with pytest.raises(beside.NotStartedError, match="cannot be started"):
        beside.WorkshopBeside(tmp_path / "out", note=note).start()


def test_the_extension_is_installed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not webui's folder"):
        install("webui", tmp_path)
    for name in ("extensions", "modules"):
        (tmp_path / name).mkdir()
    (tmp_path / "modules/script_callbacks.py").touch()
    made = install("webui", tmp_path)
    assert made.folder == tmp_path / "extensions/loralathe"
    assert (made.folder / "javascript/loralathe.js").is_file()
    assert made.apart
    python, sources = (made.folder / "python.txt").read_text("utf-8").splitlines()
    assert python == sys.executable
    assert Path(sources, "loralathe/integrations/door.py").read_text("utf-8") == (
        made.folder / "loralathe_door.py"
    ).read_text("utf-8")
    assert install("webui", tmp_path, force=True).replaced
    if os.name != "nt":
        install("webui", tmp_path, force=True, link=True)
        assert (made.folder / "scripts").resolve() == EXTENSION / "scripts"
        assert not (made.folder / "python.txt").is_symlink()
        assert not (EXTENSION / "python.txt").exists()


@contextmanager
def served(webui: Webui) -> Iterator[str]:
    """The program's page: tabs, fields, our script, and our route."""
    page = PAGE.replace("TAB", "".join(webui.tabs()[0][0].html))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script = EXTENSION / "javascript/loralathe.js"
            is_script = self.path == "/loralathe.js"
            body = script.read_text("utf-8") if is_script else page
            self._say(200, "text/javascript" if is_script else "text/html", body)

        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, told = webui.ask(self.path, headers, server.server_address[1])
            self._say(status, "application/json", json.dumps(told))

        def _say(self, status: int, kind: str, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.browser
@needs_browser
@pytest.mark.timeout(900)
def test_prompt_and_settings_are_sent_to_the_workshop(webui: Webui, monkeypatch: pytest.MonkeyPatch) -> None:
    from playwright.sync_api import sync_playwright

    webui.load(monkeypatch.setitem)
    with served(webui) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        page.locator(".loralathe-send").click()
        frame = page.frame_locator("#loralathe iframe")
        field: Any = frame.locator('[data-field="prompt"] textarea').first
        field.wait_for(timeout=180_000)
        page.wait_for_timeout(500)
        inputs = "input, textarea, select"
        values = {
            name: frame.locator(f'[data-field="{name}"]').locator(inputs).first.input_value()
            for name in ("prompt", "steps", "cfg", "seed", "sampler", "schedule")
        }
        picture = os.environ.get("WEBUI_PICTURE")
        if picture:
            page.set_viewport_size({"width": 1280, "height": 900})
            page.screenshot(path=picture)
        browser.close()
    assert values == {
        "prompt": "hina, smiling", "steps": "12", "cfg": "6.5", "seed": "77", "sampler": "Euler a",
        "schedule": "Karras",
    }  # fmt: skip
