"""The extension for A1111, Forge and Forge Neo: a tab with the workshop. Copied by `lathe install webui DIR`.

The workshop is a process of its own, which the tab starts when it is opened first, with this program's
folders; it ends with this program. It computes with its own copy of a model, not with the one loaded here,
and runs in loralathe's own Python: nothing of loralathe is in this program's.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gradio as gr
import loralathe_beside
import loralathe_door
from modules import paths_internal, script_callbacks, shared

MARK = "x-lathe"
"""Only this program's own page sends it: a page of another site may not."""
FOLDERS = {
    "checkpoints": ("Stable-diffusion", ("ckpt_dir", "ckpt_dirs")),
    "loras": ("Lora", ("lora_dir", "lora_dirs", "lyco_dir")),
    "vaes": ("VAE", ("vae_dir", "vae_dirs")),
    "embeddings": ("", ("embeddings_dir",)),
}
"""Kind of file → its folder among the models, and the options of this program that name others."""
TOKEN = ".loralathe-token"
"""The file of the door's token beside this program; gradio hands out no files whose names begin so."""
LBW = ("sd-webui-lora-block-weight", "scripts", "lbwpresets.txt")


def folders() -> dict[str, list[Path]]:
    """Where this program finds its files, those that are there."""
    found = {}
    for kind, (usual, options) in FOLDERS.items():
        given = [one for name in options for one in _several(getattr(shared.cmd_opts, name, None))]
        every = [Path(paths_internal.models_path) / usual] if usual else []
        every += map(Path, given)
        found[kind] = list(dict.fromkeys(one.absolute() for one in every if one.is_dir()))
    return found


def _several(given: Any) -> Iterable[Any]:
    """An option is one folder, several, or none."""
    if given is None:
        return ()
    return [given] if isinstance(given, (str, Path)) else given


def presets() -> Path | None:
    """The block lists of LoRA Block Weight, where that extension is."""
    for place in (paths_internal.extensions_dir, paths_internal.extensions_builtin_dir):
        if (file := Path(place).joinpath(*LBW)).is_file():
            return file
    return None


class Tab:
    """The workshop of this program, once it is asked for."""

    def __init__(self) -> None:
        self.workshop: Any = None

    def address(self, scheme: str, port: int | None) -> str:
        """Of the workshop, which is started now if need be; scheme, port: of the page that shows it."""
        if self.workshop is None:
            here = Path(paths_internal.data_path)
            end = "" if port is None else f":{port}"
            frames = [f"{scheme}://{name}{end}" for name in ("127.0.0.1", "localhost")]
            self.workshop = loralathe_beside.WorkshopBeside(
                here / "loralathe", folders(), presets(), frames, {"webui": here}
            )
        return str(self.workshop.start())

    def close(self) -> None:
        if self.workshop is not None:
            self.workshop.stop()
            self.workshop = None


tab = Tab()


def on_ui_tabs() -> list[tuple[Any, str, str]]:
    """An empty place; javascript/loralathe.js puts the frame in when the tab is opened."""
    with gr.Blocks(analytics_enabled=False) as interface:
        gr.HTML('<div id="loralathe"></div>')
    return [(interface, "loralathe", "loralathe_tab")]


def on_app_started(_: Any, app: Any) -> None:
    """The address that the page asks for the workshop's."""
    from fastapi import Request
    from fastapi.responses import JSONResponse

    def start(request: Request) -> Any:
        if request.headers.get(MARK) != "1":
            return JSONResponse({"what": "the header X-Lathe is missing"}, 403)
        if request.client is None or request.client.host not in ("127.0.0.1", "::1"):
            return JSONResponse({"what": "the workshop opens on the machine that it runs on"}, 403)
        try:
            return {"address": tab.address(request.url.scheme, request.url.port)}
        except loralathe_beside.NotStartedError as error:
            return JSONResponse({"what": error.what, "where": error.where, "fix": error.fix}, 500)

    start.__annotations__ = {"request": Request}  # FastAPI reads them where the names are not
    app.add_api_route("/loralathe/start", start, methods=["POST"])
    _open_door(app)


def _open_door(app: Any) -> None:
    """Routes through which `lathe … --on a1111://…` brings parts of LoRAs with block weights."""
    from fastapi import Request
    from fastapi.responses import JSONResponse

    loras = folders()["loras"]
    if not loras:
        return
    try:
        door = loralathe_door.PartsDoor(loras[0], Path(paths_internal.data_path) / TOKEN)
    except OSError as error:
        print("loralathe:", error)
        return

    async def answer(request: Request, name: str) -> Any:
        status, told = await door.answer(
            request.method, name, request.headers.get(loralathe_door.HEADER), request.stream()
        )
        return JSONResponse(told, status)

    answer.__annotations__ = {"request": Request, "name": str}
    app.add_api_route(loralathe_door.ROUTE, answer, methods=list(loralathe_door.METHODS))


script_callbacks.on_ui_tabs(on_ui_tabs)
script_callbacks.on_app_started(on_app_started)
script_callbacks.on_script_unloaded(tab.close)
atexit.register(tab.close)
