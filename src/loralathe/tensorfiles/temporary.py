"""Temporary files and folders of this process: their names, their locks, and that they go when it ends."""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0)
_START, SUFFIX = ".lathe-", ".part"
LOCK = ".lock"
"""In a temporary folder."""
_LOCK_AT = 1 << 40
"""Windows locks bytes, and others cannot read locked bytes: lock one that never exists."""
_ENDS = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU")
_SIGNALS = [getattr(signal, name) for name in _ENDS if hasattr(signal, name)]
_live: dict[Path, tuple[int, int]] = {}
"""Temporary file or new folder -> process and thread that made it (a fork must not remove its parent's)."""
_live_lock = threading.Lock()


def remove_stale(target: Path) -> list[Path]:
    """Delete temporary files for `target` whose writer is gone, and list them; living ones are locked."""
    return _remove_unlocked(target.parent.glob(f"{prefix_of(target)}*{SUFFIX}"))


def remove_stale_in(folder: Path) -> list[Path]:
    """The same for every target in a folder."""
    return _remove_unlocked(folder.glob(f"{_START}*{SUFFIX}"))


def _remove_unlocked(paths: Iterable[Path]) -> list[Path]:
    removed = []
    for path in paths:
        try:
            fd = os.open(path / LOCK if path.is_dir() else path, FLAGS)
        except OSError:
            continue
        try:
            stale = try_lock(fd)
            if stale and sys.platform != "win32":
                remove(path)
        except OSError:
            stale = False  # no locks on this disk: better a leftover than another run's file
        finally:
            os.close(fd)
        if stale:
            remove(path)
            removed.append(path)
    return removed


def remove(path: Path) -> None:
    """A temporary file, or a temporary folder with all that is in it."""
    if path.is_dir() and path.name.startswith(_START):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def prefix_of(target: Path) -> str:
    # A digest, because a long name with a prefix and a suffix may be more than a file name can hold.
    digest = hashlib.sha256(target.name.casefold().encode("utf-8", "surrogateescape")).hexdigest()
    return f"{_START}{digest[:12]}-"


def create_locked(target: Path) -> tuple[Path, int]:
    while True:
        path = target.parent / f"{prefix_of(target)}{secrets.token_hex(6)}{SUFFIX}"
        remember(path)  # before it exists: a signal may come at any moment
        try:
            fd = os.open(path, FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError:
            forget(path)
            raise
        try:
            locked = try_lock(fd)
        except OSError:
            return path, fd  # no locks on this disk
        # Between creation and lock another run may have taken the file for a stale one.
        if locked and os.fstat(fd).st_nlink:
            return path, fd
        os.close(fd)
        forget(path)


def sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot sync folders
            raise
    finally:
        os.close(fd)


def try_lock(fd: int) -> bool:
    """Lock an open file until the process ends, without waiting.

    False when another has the lock; OSError where locks do not work.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(fd, _LOCK_AT, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def remember(path: Path) -> None:
    """Remove `path` if the process ends before `forget`; signals are caught only from the main thread on."""
    with _live_lock:
        _live[path] = os.getpid(), threading.get_ident()
        _swap_handlers(signal.SIG_DFL, _die_cleanly)


def forget(path: Path) -> None:
    with _live_lock:
        _live.pop(path, None)
        if not _live:
            _swap_handlers(_die_cleanly, signal.SIG_DFL)


def remove_own(target: Path) -> None:
    """Temporary files for `target` that this thread made and nobody has committed or discarded."""
    own, prefix = (os.getpid(), threading.get_ident()), prefix_of(target)
    for path, owner in tuple(_live.items()):
        if owner == own and path.parent == target.parent and path.name.startswith(prefix):
            remove(path)
            forget(path)


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
    for path, (process, _) in reversed(tuple(_live.items())):  # files before the folders that they are in
        if process == os.getpid():
            with contextlib.suppress(OSError):
                made_for_file = path.is_dir() and not path.name.startswith(_START)
                path.rmdir() if made_for_file else remove(path)
