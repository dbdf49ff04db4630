"""The server speaks the language of who asks, in refusals too."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytest.importorskip("starlette")

from starlette.requests import HTTPConnection

from loralathe.workshop.language import labeller, language_of
from loralathe.workshop.safety import Guard


def scope(**headers: str) -> dict[str, Any]:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": "/api/jobs", "query_string": b"", "headers": given}


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        ({"accept_language": "zh-TW,zh;q=0.9"}, "zh-TW"),
        ({"accept_language": "zh-TW", "cookie": "lathe-language=en"}, "en"),
        ({"accept_language": "en", "cookie": "lathe-language=zh-TW"}, "zh-TW"),
        ({"accept_language": "en", "cookie": "lathe-language=../x"}, "en"),
        ({}, "en"),
    ],
)
def test_the_cookie_then_the_browser(headers: dict[str, str], language: str) -> None:
    assert language_of(HTTPConnection(scope(**headers))) == language


def test_names_of_tasks() -> None:
    assert labeller(HTTPConnection(scope(accept_language="zh-TW")))("computing") == "計算中"


@pytest.mark.parametrize(
    ("accepted", "what"), [("zh-TW", "缺少 X-Lathe 標頭"), ("en", "the header X-Lathe is missing")]
)
def test_refusals(accepted: str, what: str) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def never(*_: Any) -> Any:
        raise AssertionError

    guard = Guard(never, hosts=None, token=None)
    asyncio.run(guard(scope(accept_language=accepted), never, send))
    assert sent[0]["status"] == 403
    assert json.loads(sent[1]["body"])["error"]["what"] == what
