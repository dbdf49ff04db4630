"""Temporary files of this process are removed when it is told to end.

Ctrl-C is an exception and unwinds by itself. SIGTERM and SIGHUP kill Python at once, so while temporary files
exist, and only where nobody else handles the signal, a handler removes them and then lets the signal kill.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
from pathlib import Path
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_live: dict[Path, int] = {}
"""Temporary file -> process that made it: a forked child must not remove its parent's."""
_lock = threading.Lock()


def remember(path: Path) -> None:
    """Remove `path` if the process ends before `forget`; signals are caught only from the main thread on."""
    with _lock:
        _live[path] = os.getpid()
        _swap_handlers(signal.SIG_DFL, _die_cleanly)


def forget(path: Path) -> None:
    with _lock:
        _live.pop(path, None)
        if not _live:
            _swap_handlers(_die_cleanly, signal.SIG_DFL)


def _swap_handlers(old: object, new: signal.Handlers | object) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is old or signal.getsignal(number) == old:
            signal.signal(number, new)  # type: ignore[arg-type]


def _die_cleanly(number: int, frame: FrameType | None) -> None:
    # No lock: the main thread may be interrupted while it holds it.
    _remove_all()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@atexit.register
def _remove_all() -> None:
    for path, owner in tuple(_live.items()):
        if owner == os.getpid():
            with contextlib.suppress(OSError):
                path.unlink()
