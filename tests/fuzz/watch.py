"""An audit hook: what a run may never do is noted the moment it is tried, and refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PROGRAMS = frozenset({"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "os.fork", "os.forkpty"})
_NETWORK = frozenset({"socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request"})
_MOVES = frozenset({"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"})
_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Notes programs started, the network, and writes outside of `allowed`, while `active`."""

    def __init__(self, allowed: tuple[Path, ...]) -> None:
        self.seen: list[str] = []
        self.active = False
        self._allowed = tuple(os.path.realpath(path) for path in allowed)
        sys.addaudithook(self._hear)

    def _hear(self, event: str, details: tuple[object, ...]) -> None:
        if not self.active:
            return
        if event in _PROGRAMS or event in _NETWORK:
            self._refuse(f"{event} {details!r:.200}")
        elif event == "open":
            path, _, flags = details
            if isinstance(flags, int) and flags & _CHANGES:
                self._check_place("writing", path)
        elif event in _MOVES:
            self._check_place(event, details[0])

    def _check_place(self, what: str, path: object) -> None:
        if not isinstance(path, (str, bytes)):
            return  # an open file
        place = os.path.realpath(os.fsdecode(path))
        inside = any(place == base or place.startswith(base + os.sep) for base in self._allowed)
        if not inside and place != os.devnull:
            self._refuse(f"{what} {place}")

    def _refuse(self, text: str) -> None:
        self.seen.append(text)
        raise PermissionError(f"refused while fuzzing: {text}")
