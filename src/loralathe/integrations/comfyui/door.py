"""The door of this ComfyUI through which `lathe … --on comfyui://…` brings parts of LoRAs."""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import web

from loralathe.integrations import HEADER, METHODS, ROUTE, PartsDoor

from . import host

PIECE = 1 << 20
TOKEN = "token"
"""The file of the door's token, in our folder of ComfyUI's users."""


def open_door() -> None:
    """Add our routes to the server; where there is none, as in a test, nothing is opened."""
    routes, folders = host.routes(), host.folders("loras")
    if routes is None or not folders:
        return
    try:
        door = PartsDoor(folders[0], host.own_folder() / TOKEN)
    except OSError as error:
        logging.getLogger("loralathe").warning("no door for parts of LoRAs: %s", error)
        return

    async def answer(request: Any) -> Any:
        status, told = await door.answer(
            request.method,
            request.match_info["name"],
            request.headers.get(HEADER),
            request.content.iter_chunked(PIECE),
        )
        return web.json_response(told, status=status)

    for method in METHODS:
        routes.route(method, ROUTE)(answer)
