"""Reads and writes at a position. They do not use the file pointer, so any thread may do them at any time.

POSIX has calls for it. Elsewhere a lock and a seek do the same, one call at a time.
"""

from __future__ import annotations

import errno
import os
import sys
import threading

from loralathe.errors import InputError, MachineError

_MOST_AT_ONCE = 1 << 30
"""Some systems refuse 2 GiB or more in one call."""
_COPY_BUFFER = 1 << 20
"""Stays in a core's cache between the read and the write."""
_DONTCACHE = 0x80
"""RWF_DONTCACHE of Linux 6.14: pages of the system's cache are given back as soon as the disk has them."""
_REFUSED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
_POSITIONAL = hasattr(os, "preadv") and hasattr(os, "pwrite")
_seek_lock = threading.Lock()
_local = threading.local()


class _PastCache:
    """Whether this system and this disk write past the cache; known after the first try."""

    possible = sys.platform == "linux" and hasattr(os, "pwritev")


def read_at(fd: int, buffer: memoryview, offset: int, where: str) -> None:
    """Fill `buffer` (bytes, writable) from `offset`; InputError when the file ends before.

    MachineError when the disk cannot be read.
    """
    done = 0
    while done < len(buffer):
        try:
            got = _read_some(fd, buffer[done : done + _MOST_AT_ONCE], offset + done)
        except OSError as error:
            raise MachineError(
                f"the file could not be read: {error.strerror or error}",
                where=where,
                fix="check the disk, or use another copy of the file",
            ) from error
        if got == 0:
            raise InputError(
                f"the file became shorter while it was read: no byte at {offset + done:,}",
                where=where,
                fix="run again when nothing else writes the file",
            )
        done += got


def write_at(fd: int, data: memoryview, offset: int, *, past_cache: bool = False) -> None:
    """Write all of `data` (bytes) at `offset`; OSError as the system gives it.

    past_cache: do not keep the bytes in the system's cache, on systems that offer this. For gigabytes it
    takes a quarter to a half of the processor time: the same few pages are used again and again, the inputs
    stay in the cache, and the disk works from the first write on.
    """
    write = _write_past_cache if past_cache else _write_some
    done = 0
    while done < len(data):
        written = write(fd, data[done : done + _MOST_AT_ONCE], offset + done)
        if not written:  # no system does this to a regular file; if one did, this would never end
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        done += written


def copy_range(
    source: int,
    source_at: int,
    target: int,
    target_at: int,
    count: int,
    *,
    where: str,
    past_cache: bool = False,
) -> None:
    """Copy `count` bytes between files without a change; inside the kernel where it can.

    A copy in the kernel fills the cache, so it is not used with `past_cache`, see `write_at`. sendfile is not
    used: it writes at the shared file pointer, so it is not positional, and between two files it is not
    faster than a large buffer.
    """
    in_kernel = not (past_cache and _PastCache.possible)
    done = _copy_in_kernel(source, source_at, target, target_at, count) if in_kernel else 0
    buffer = _copy_buffer()
    while done < count:
        piece = buffer[: count - done]
        read_at(source, piece, source_at + done, where)
        write_at(target, piece, target_at + done, past_cache=past_cache)
        done += len(piece)


def _copy_buffer() -> memoryview:
    """This thread's buffer, made once: fresh memory for every tensor would cost as much as the copy."""
    buffer: memoryview | None = getattr(_local, "buffer", None)
    if buffer is None:
        buffer = _local.buffer = memoryview(bytearray(_COPY_BUFFER))
    return buffer


def _copy_in_kernel(source: int, source_at: int, target: int, target_at: int, count: int) -> int:
    """How many bytes `copy_file_range` copied before it stopped; the plain copy after it reports errors."""
    if not hasattr(os, "copy_file_range"):
        return 0
    done = 0
    while done < count:
        try:
            got = os.copy_file_range(
                source, target, min(count - done, _MOST_AT_ONCE), source_at + done, target_at + done
            )
        except OSError:
            return done
        if got == 0:
            return done
        done += got
    return done


def _read_some(fd: int, buffer: memoryview, offset: int) -> int:
    if _POSITIONAL:
        return os.preadv(fd, [buffer], offset)
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        data = os.read(fd, min(len(buffer), _COPY_BUFFER))
    buffer[: len(data)] = data
    return len(data)


def _write_past_cache(fd: int, data: memoryview, offset: int) -> int:
    if _PastCache.possible:
        try:
            return os.pwritev(fd, [data], offset, _DONTCACHE)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            _PastCache.possible = False  # an older kernel, or a disk without such writes
    return _write_some(fd, data, offset)


def _write_some(fd: int, data: memoryview, offset: int) -> int:
    if _POSITIONAL:
        return os.pwrite(fd, data, offset)
    with _seek_lock:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)
