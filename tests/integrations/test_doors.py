"""The routes that our pack and our extension add to their program's server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from checkpoints import tiny_lora, write_safetensors
from integrations.stand_in import Host, in_host
from integrations.webui_stand_in import Webui

NAME = f"loralathe-part-{'0' * 16}.safetensors"
PATH = "/loralathe/parts/{name}"


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


def part(folder: Path) -> bytes:
    return write_safetensors(
        folder / "hina.safetensors", tiny_lora("sd1", rank=1, alpha=1, seed=1)
    ).read_bytes()


def test_the_nodes_open_a_door_of_comfyui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host, data = Host(tmp_path / "base"), part(tmp_path)
    in_host(host, monkeypatch.setitem)
    host.load()
    token = (tmp_path / "base/user/loralathe/token").read_text().strip()

    def ask(method: str, given: str) -> tuple[int, dict[str, Any]]:
        content = SimpleNamespace(iter_chunked=lambda size: pieces(data))
        request = SimpleNamespace(
            method=method, match_info={"name": NAME}, headers={"X-Lathe-Token": given}, content=content
        )
        found: tuple[int, dict[str, Any]] = asyncio.run(host.answers[method, PATH](request))
        return found

    assert ask("PUT", "no")[0] == 403
    assert ask("PUT", token)[1]["there"] is True
    assert host.names("loras") == [NAME]
    assert ask("DELETE", token)[1]["there"] is False
    assert host.names("loras") == []


def test_without_a_server_nothing_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path / "base")
    host.modules["server"].PromptServer = SimpleNamespace()
    in_host(host, monkeypatch.setitem)
    assert host.load()
    assert not (tmp_path / "base/user").exists()


def test_the_extension_opens_a_door_of_the_webui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    webui, data = Webui(tmp_path / "webui"), part(tmp_path)
    webui.load(monkeypatch.setitem)
    token = (tmp_path / "webui/.loralathe-token").read_text().strip()

    def ask(method: str, given: str) -> tuple[int, dict[str, Any]]:
        request = SimpleNamespace(
            method=method, headers={"X-Lathe-Token": given}, stream=lambda: pieces(data)
        )
        answer = asyncio.run(webui.routes[PATH](request, NAME))
        return answer.status_code, answer.content

    assert ask("PUT", "no")[0] == 403
    assert ask("PUT", token) == (200, ask("GET", token)[1])
    assert (tmp_path / "webui/models/Lora" / NAME).read_bytes() == data
    assert ask("DELETE", token)[1]["there"] is False
