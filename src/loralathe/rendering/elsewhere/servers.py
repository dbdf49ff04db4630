"""A pool of running programs of one kind: each server is a place where pictures are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from loralathe.progress import Progress
from loralathe.rendering.elsewhere.address import Server
from loralathe.rendering.elsewhere.comfyui import QUEUED, ComfyProgram, ComfyWorker
from loralathe.rendering.elsewhere.pool import Place, Pool
from loralathe.rendering.elsewhere.program import Settings
from loralathe.rendering.elsewhere.server_loras import ServerLoras
from loralathe.rendering.elsewhere.webui import WebuiWorker
from loralathe.rendering.elsewhere.webui_program import WebuiProgram
from loralathe.rendering.prepare import Prepared

IN_TURN = 2
"""Pictures that an A1111 is given at once; it draws one after the other."""


def server_pool(servers: Sequence[Server], settings: Settings, progress: Progress | None = None) -> Pool:
    """A renderer that asks these servers, which are of one program."""
    program = servers[0].program
    loras = ServerLoras(program, settings.folder, settings.presets, allow_unmatched=settings.allow_unmatched)
    told = progress or Progress()
    places, checks = [], []
    for server in servers:
        if program == "comfyui":
            comfy = ComfyProgram(server, settings, loras, told)
            places.append(Place(server.name, partial(ComfyWorker, comfy)))
            checks.append(comfy.check)
        else:
            webui = WebuiProgram(server, settings, loras, told)
            places.append(Place(server.name, partial(WebuiWorker, webui)))
            checks.append(webui.check)
    most = QUEUED if program == "comfyui" else IN_TURN

    def check(prepared: Sequence[Prepared]) -> None:
        for one in checks:
            one(prepared)

    def size(count: int) -> Callable[[Prepared], int]:
        each = max(1, min(most, -(-count // len(servers))))
        return lambda one: each

    return Pool(
        places,
        size=size,
        lora_dirs=settings.lora_dirs,
        check=check,
        whole=False,
        closing=loras.close,
        progress=progress,
    )
