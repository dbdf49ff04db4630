"""Faults of the machine, put between Python and the system in a process that will not outlive them.

Calls are counted with `itertools.count`, whose `next` is atomic: two threads never share, or skip, a number.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

WRITES = ("pwrite", "ftruncate", "copy_file_range", "posix_fallocate")
"""Calls that a full disk refuses."""
NAMES = ("open", *WRITES, "fsync", "link", "unlink", "replace", "rename", "preadv")
"""What is counted, and may be made to fail."""
Call = Callable[..., Any]


def count_calls() -> Counter[str]:
    """How often each of NAMES is called from now on; threads may add to it."""
    found: Counter[str] = Counter()
    for name in _present():
        numbers = itertools.count(1)

        def before(real: Call, args: tuple[Any, ...], name: str = name, numbers: Any = numbers) -> Any:
            result = real(*args[0], **args[1])
            found[name] = max(found[name], next(numbers))
            return result

        _put_between(name, before)
    return found


def die_at(name: str, number: int, when: str) -> None:
    """SIGKILL before, or after, the `number`-th call of os.`name`."""

    def kill(real: Call, args: tuple[Any, ...], mine: int) -> Any:
        if mine == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args[0], **args[1])
        if mine == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    _count_and(name, kill)


def fail_at(name: str, number: int, code: str) -> None:
    """The `number`-th call of os.`name` fails with errno `code`; so do all later writes when it says full."""
    error = getattr(errno, code)
    full = code in ("ENOSPC", "EDQUOT")
    happened: list[bool] = []

    def refuse(real: Call, args: tuple[Any, ...], mine: int) -> Any:
        if mine == number:
            happened.append(True)
            raise OSError(error, os.strerror(error))
        return real(*args[0], **args[1])

    def refuse_when_full(real: Call, args: tuple[Any, ...], mine: int) -> Any:
        if happened and full:
            raise OSError(error, os.strerror(error))
        return real(*args[0], **args[1])

    _count_and(name, refuse)
    for other in WRITES if full else ():
        if other in _present():
            _count_and(other, refuse_when_full)


def write_in_small_pieces() -> None:
    """Every write takes less than it was given, as the system may do at any time."""

    def half(real: Call, args: tuple[Any, ...], mine: int) -> Any:
        fd, data, *rest = args[0]
        return real(fd, memoryview(data)[: max(1, len(data) // 2)], *rest)

    def few(real: Call, args: tuple[Any, ...], mine: int) -> Any:
        source, target, count, *rest = args[0]
        return real(source, target, min(count, 1000), *rest)

    _count_and("pwrite", half)
    if "copy_file_range" in _present():
        _count_and("copy_file_range", few)


def interrupt_every_millisecond() -> None:
    """Signals without meaning, all the time: every call that waits is interrupted now and then (EINTR)."""
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.siginterrupt(signal.SIGALRM, True)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)


def _present() -> list[str]:
    return [name for name in NAMES if hasattr(os, name)]


def _count_and(name: str, act: Callable[[Call, tuple[Any, ...], int], Any]) -> None:
    numbers = itertools.count(1)
    _put_between(name, lambda real, args: act(real, args, next(numbers)))


def _put_between(name: str, act: Callable[[Call, tuple[Any, ...]], Any]) -> None:
    real = getattr(os, name)
    setattr(os, name, lambda *args, **kwargs: act(real, (args, kwargs)))
