"""Worker threads: the first error and Ctrl-C stop what has not begun."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

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


def test_ctrl_c_while_threads_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, ended = Cancel(), threading.Event()

    class Interrupted(ThreadPoolExecutor):
        """Ctrl-C comes after the first thread."""

        def submit(self, *arguments: Any, **keywords: Any) -> Future[Any]:
            if self._threads:
                raise KeyboardInterrupt
            return super().submit(*arguments, **keywords)

    def work(_item: int) -> None:
        while not stop.is_set:
            time.sleep(0.01)
        ended.set()

    monkeypatch.setattr("loralathe.engine.workers.ThreadPoolExecutor", Interrupted)
    with Progress().task("x", 9) as task, pytest.raises(KeyboardInterrupt):
        in_parallel(range(9), work, lambda _: 1, task, 2, stop=stop)
    assert ended.is_set()


def test_one_stop_for_several_passes() -> None:
    """What ends well cancels nothing: a budget's first pass and its second share one."""
    stop = Cancel()
    with Progress().task("x", 9) as task:
        assert in_parallel(range(9), lambda item: item * 2, lambda _: 1, task, 2, stop=stop) == [
            *range(0, 18, 2)
        ]
    assert not stop.is_set
