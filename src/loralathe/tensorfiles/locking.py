"""An exclusive lock on an open file that ends with the process, however it ends."""

from __future__ import annotations

import os
import sys

_FAR = 1 << 40
"""Windows locks bytes, and locked bytes cannot be read by others: lock one that never exists."""


def try_lock(fd: int) -> bool:
    """Take the lock without waiting; False when someone else has it, OSError where locks do not work."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(fd, _FAR, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
