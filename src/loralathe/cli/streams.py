"""stdout and stderr that are closed, lost (`| head`) or full: they never decide whether a file is made."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

GONE = (errno.EPIPE, errno.EINVAL, errno.EIO, errno.ENXIO)
"""Nobody reads any more: a pipe's other end is closed (Windows says EINVAL), a terminal is."""
NULL_FDS = 3


class KeptFile(io.FileIO):
    """Takes whatever is written; after the first failure it drops it.

    error: that failure.
    """

    error: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def keep_streams() -> None:
    """Replace `sys.stdout` and `sys.stderr` by streams whose failure ends nothing.

    Nor does a console that lacks a character, or a file name that is not UTF-8. Descriptors 0 to 2 that are
    closed are taken, lest an output gets such a number and a library prints into it.
    """
    while (taken := os.open(os.devnull, os.O_RDWR)) < NULL_FDS:
        pass
    os.close(taken)
    sys.stdout, sys.stderr = _kept(sys.stdout), _kept(sys.stderr)


def _kept(stream: TextIO | None) -> TextIO:
    if stream is None:  # it was closed when the program began
        return open(os.devnull, "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if stream.isatty():
        stream.reconfigure(errors="backslashreplace")
        return stream
    stream.flush()
    file = KeptFile(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        # -u and PYTHONUNBUFFERED ask for no buffer at all.
        file if stream.write_through else io.BufferedWriter(file),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def failure_of_stdout() -> OSError | None:
    """Why not all of stdout could be written, such as a full disk; None where nobody wanted to read it."""
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    file = buffer if isinstance(buffer, KeptFile) else getattr(buffer, "raw", None)
    error = file.error if isinstance(file, KeptFile) else None
    return None if error is None or error.errno in GONE else error
