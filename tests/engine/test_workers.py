"""Worker threads: the first error and Ctrl-C stop what has not begun."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from loralathe.engine import in_parallel
from loralathe.errors import InputError
from loralathe.progress import Cancel, Progress


def test_what_waits_for_memory_does_not_begin_after_an_error() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.1)  # the other thread comes to wait for memory
        raise InputError("no")

    with Progress().task("x", 2) as task, pytest.raises(InputError, match="no"):
        in_parallel(range(2), work, lambda _: 1, task, 2, lambda _: 1, limit=1)
    assert len(begun) == 1


class CtrlC(list[int]):
    """Ctrl-C comes after the first item."""

    def __iter__(self) -> Iterator[int]:
        yield 0
        raise KeyboardInterrupt


def test_ctrl_c_while_items_are_handed_out() -> None:
    stop, ended = Cancel(), threading.Event()

    def work(_item: int) -> None:
        while not stop.is_set:
            time.sleep(0.01)
        ended.set()

    with Progress().task("x", 9) as task, pytest.raises(KeyboardInterrupt):
        in_parallel(CtrlC(range(9)), work, lambda _: 1, task, 1, stop=stop)
    assert ended.is_set()
