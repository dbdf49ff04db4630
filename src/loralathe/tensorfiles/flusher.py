"""Starts writing to disk while the work still runs, so that the final fsync has little left to do."""

from __future__ import annotations

import os
import threading

_EVERY = 256 << 20
"""Bytes between flushes: rare enough to cost nothing, small beside the gigabytes a system lets pile up."""


class Flusher:
    """A helper thread that syncs `fd` after every 256 MiB reported; none is started for smaller files."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pending = 0
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._error: OSError | None = None

    def wrote(self, count: int) -> None:
        """Count bytes; raises the OSError of an earlier flush: a system reports a lost write only once."""
        with self._wake:
            if self._error is not None:
                raise self._error
            self._pending += count
            if self._pending < _EVERY:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lathe-flush", daemon=True)
                self._thread.start()
            self._wake.notify()

    def stop(self) -> None:
        """Wait for a flush under way; raises what went wrong in any."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        while True:
            with self._wake:
                while self._pending < _EVERY and not self._stopping:
                    self._wake.wait()
                if self._stopping:
                    return
                self._pending = 0
            try:
                _sync_data(self._fd)
            except OSError as error:
                with self._wake:
                    self._error = error
                return


_sync_data = getattr(os, "fdatasync", os.fsync)
