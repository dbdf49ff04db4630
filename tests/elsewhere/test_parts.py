"""Parts of LoRAs go to a server through a door: who may, what is taken, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from elsewhere.asking import drawn, failing, pool_on, quickly
from elsewhere.comfy_stand_in import ComfyStandIn
from elsewhere.conftest import Studio
from elsewhere.stand_in import StandIn
from elsewhere.webui_stand_in import WebuiStandIn
from loralathe import InputError
from loralathe.integrations import METHODS, PartsDoor, door
from loralathe.rendering import ImageRequest
from loralathe.rendering.elsewhere import parts
from loralathe.strengths import AdapterUse

__all__ = ["quickly"]
NAME = f"{parts.OURS}{'0' * 16}.safetensors"
OTHERS = [
    "../x.safetensors", "hina.safetensors", NAME.upper(), f"{NAME}.ckpt", f"{NAME}\n", f"{NAME[:-12]}.ckpt",
    "",
]  # fmt: skip


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    folder = tmp_path / "loras"
    folder.mkdir()
    return folder


def ask(at: PartsDoor, method: str, name: str, token: str | None, body: bytes = b"") -> int:
    async def pieces() -> AsyncIterator[bytes]:
        yield body[:10]
        yield body[10:]

    return asyncio.run(at.answer(method, name, token, pieces()))[0]


def test_both_ends_call_it_alike() -> None:
    assert door.NAME.fullmatch(NAME)
    assert f"{parts.ROUTE}/{{name}}" == door.ROUTE
    assert (parts.OURS, parts.HEADER) == (door.OURS, door.HEADER)


def test_who_has_the_token_puts_in_and_takes_out(loras: Path, studio: Studio, tmp_path: Path) -> None:
    secret = tmp_path / "user/token"
    at = PartsDoor(loras, secret)
    token = secret.read_text().strip()
    assert len(token) >= door.SHORTEST
    if os.name != "nt":
        assert secret.stat().st_mode & 0o777 == 0o600
    data = studio.lora.read_bytes()
    assert ask(at, "PUT", NAME, token, data) == 200
    assert (loras / NAME).read_bytes() == data
    again = PartsDoor(loras, secret)
    assert ask(again, "DELETE", NAME, token) == 200
    assert not list(loras.iterdir())


@pytest.mark.parametrize("token", [None, "", "wrong", "é" * 30])
def test_nobody_else_does(loras: Path, studio: Studio, tmp_path: Path, token: str | None) -> None:
    at = PartsDoor(loras, tmp_path / "token")
    for method in METHODS:
        assert ask(at, method, NAME, token, studio.lora.read_bytes()) == 403
    assert not list(loras.iterdir())


def test_an_emptied_file_closes_the_door(loras: Path, tmp_path: Path) -> None:
    for short in ("", "secret"):
        (tmp_path / "token").write_text(short)
        assert ask(PartsDoor(loras, tmp_path / "token"), "GET", NAME, short) == 403
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        PartsDoor(loras, tmp_path / "folder")


@pytest.mark.parametrize("name", OTHERS)
def test_only_names_of_parts(loras: Path, studio: Studio, tmp_path: Path, name: str) -> None:
    (loras / "hina.safetensors").write_bytes(b"mine")
    at = PartsDoor(loras, tmp_path / "token")
    token = (tmp_path / "token").read_text().strip()
    for method in METHODS:
        assert ask(at, method, name, token, studio.lora.read_bytes()) == 404
    assert [(one.name, one.read_bytes()) for one in loras.iterdir()] == [("hina.safetensors", b"mine")]


def test_what_is_no_lora_or_too_large_does_not_stay(
    loras: Path, studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = PartsDoor(loras, tmp_path / "token")
    token, data = (tmp_path / "token").read_text().strip(), studio.lora.read_bytes()
    assert ask(at, "PUT", NAME, token, b"no file of tensors") == 400
    assert ask(at, "PUT", NAME, token, data[: len(data) // 2]) == 400
    monkeypatch.setattr(door, "LARGEST", 1000)
    assert ask(at, "PUT", NAME, token, data) == 413
    assert not list(loras.iterdir())


def test_the_door_sweeps(loras: Path, studio: Studio, tmp_path: Path) -> None:
    old = loras / f"{parts.OURS}{'1' * 16}.safetensors"
    old.write_bytes(b"left by a run that was killed")
    os.utime(old, (time.time() - 2 * door.STALE_SECONDS,) * 2)
    at = PartsDoor(loras, tmp_path / "token")
    ask(at, "PUT", NAME, (tmp_path / "token").read_text().strip(), studio.lora.read_bytes())
    assert [one.name for one in loras.iterdir()] == [NAME]


@pytest.fixture(params=[ComfyStandIn, WebuiStandIn])
def stand_in(request: pytest.FixtureRequest, loras: Path, studio: Studio) -> StandIn:
    (loras / "hina.safetensors").symlink_to(studio.lora)
    made: StandIn = request.param("baseA.safetensors", folder=loras)
    return made


def weighted(studio: Studio) -> list[ImageRequest]:
    use = AdapterUse(str(studio.lora), te=0.5, unet=0.8, blocks="BASE=0.5, IN04=0.25, *=0")
    return [replace(one, adapters=(use,)) for one in studio.requests(2)]


def test_block_weights_go_through_it(stand_in: StandIn, studio: Studio, loras: Path, tmp_path: Path) -> None:
    """Each part is sent once, and taken out in the end."""
    stand_in.door = PartsDoor(loras, tmp_path / "token")
    token, seen = (tmp_path / "token").read_text().strip(), list[set[str]]()
    with pool_on(stand_in, token=token) as pool:
        pool.render(weighted(studio), lambda index, image: seen.append({one.name for one in loras.iterdir()}))
        assert [len(names) for names in seen] == [3, 3]
        assert len(drawn(pool, weighted(studio))) == 2
    asked = [method for method, path in stand_in.asked if path.startswith(parts.ROUTE)]
    assert asked == [*["GET", "PUT"] * 2, *["DELETE"] * 2]
    assert [one.name for one in loras.iterdir()] == ["hina.safetensors"]


def test_a_door_that_is_closed_or_not_there(
    stand_in: StandIn, studio: Studio, loras: Path, tmp_path: Path
) -> None:
    with pool_on(stand_in, token="x" * 30) as pool:
        assert "has no door for parts of LoRAs" in failing(pool, weighted(studio)).what
    stand_in.door = PartsDoor(loras, tmp_path / "token")
    with pool_on(stand_in, token="x" * 30) as pool:
        assert failing(pool, weighted(studio)).what == "the server does not take this token"
    with pool_on(stand_in) as pool:
        assert parts.TOKEN in (failing(pool, weighted(studio)).fix or "")
    with pytest.raises(InputError, match="this is no token"), pool_on(stand_in, token="x\r\nHost: y"):
        pass
    assert [one.name for one in loras.iterdir()] == ["hina.safetensors"]
