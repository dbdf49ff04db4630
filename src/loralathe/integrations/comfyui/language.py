"""What our nodes tell a person, in the language of ComfyUI's page: its settings', else the browser's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import folder_paths
import server
from aiohttp import web

import loralathe
from loralathe import LatheError

ENGLISH, CHINESE = loralathe.LANGUAGES
TAIWAN = ("zh-tw", "zh-hant", "zh-hk", "zh-mo")
"""How browsers call the Chinese that we write."""
SETTINGS, SETTING = "comfy.settings.json", "Comfy.Locale"
QUEUES = ("/prompt", "/api/prompt")


class Refused(Exception):  # noqa: N818
    """What a person must mend, in words for them: the text that ComfyUI shows."""


class _Asking:
    """Who queued a graph last: the file of their settings, and the languages of their browser."""

    settings: Path | None = None
    browser = ""


def listen() -> None:
    """From now on, hear who queues graphs. A page in the browser's own language leaves no setting behind."""
    running = getattr(server.PromptServer, "instance", None)
    if running is None:
        return

    async def hear(request: Any, answer: Any) -> Any:
        if request.method == "POST" and request.path in QUEUES:
            _Asking.browser = request.headers.get("Accept-Language", "")
            try:
                place = running.user_manager.get_request_user_filepath(request, SETTINGS, create_dir=False)
            except KeyError:  # a user that ComfyUI does not know
                place = None
            _Asking.settings = None if place is None else Path(place)
        return await answer(request)

    running.app.middlewares.append(web.middleware(hear))


def language() -> str:
    """What the settings of who asked say; without a word of theirs, what their browser says."""
    settings = _Asking.settings or Path(folder_paths.get_user_directory()) / "default" / SETTINGS
    try:
        return str(json.loads(settings.read_text("utf-8"))[SETTING])
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or damaged: the browser's
        return CHINESE if _Asking.browser.lower().startswith(TAIWAN) else ENGLISH


def told(text: str) -> str:
    """A text of ours in the language of ComfyUI's page."""
    spoken = language()
    return loralathe.read_catalogue(spoken).say(text) if spoken == CHINESE else text


@contextmanager
def refusing() -> Iterator[None]:
    """Our errors as ComfyUI shows them: what, where and fix, one a line."""
    try:
        yield
    except LatheError as error:
        parts = {"": error.what, "  where: ": error.where, "  fix:   ": error.fix}
        lines = [told(label) + told(text.spelled(spelled)) for label, text in parts.items() if text]
        raise Refused("\n".join(map(loralathe.inset, lines))) from error


def spelled(name: str, value: object) -> str:
    """An option of `loralathe` as our nodes call it."""
    return {"force": "overwrite"}.get(name, name) + ("" if value is None else f" = {value}")
