"""What tests of ComfyUI and of A1111 share: a pool on a stand-in, its pictures, its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from PIL.Image import Image

from elsewhere.stand_in import StandIn
from loralathe.errors import InputError
from loralathe.progress import Progress
from loralathe.rendering import ImageRequest
from loralathe.rendering.elsewhere import http
from loralathe.rendering.elsewhere.comfyui import comfy_pool
from loralathe.rendering.elsewhere.pool import Pool
from loralathe.rendering.elsewhere.program import Settings
from loralathe.rendering.elsewhere.webui import webui_pool

POOLS = {"comfyui": comfy_pool, "a1111": webui_pool}


@contextmanager
def pool_on(*stand_ins: StandIn, progress: Progress | None = None, **settings: Any) -> Iterator[Pool]:
    """A pool that asks running stand-ins of one program."""
    with ExitStack() as stack:
        servers = [stack.enter_context(one.running()) for one in stand_ins]
        pool = POOLS[stand_ins[0].program](servers, Settings(**settings), progress)
        yield stack.enter_context(pool)


def drawn(pool: Pool, wanted: list[ImageRequest]) -> dict[int, Image]:
    found: dict[int, Image] = {}
    pool.render(wanted, found.__setitem__)
    return found


def failing(pool: Pool, wanted: list[ImageRequest]) -> InputError:
    """The error of requests that the pool refuses."""
    with pytest.raises(InputError) as caught:
        drawn(pool, wanted)
    return caught.value


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Busy servers are asked again soon."""
    monkeypatch.setattr(http, "WAITS", (0.01, 0.01, 0.01))
