"""The workshop in a process of its own, beside this program: it ends with it, however that ends.

It runs in loralathe's own Python, which `lathe install webui` notes down in `python.txt`: what loralathe
needs is newer than what this program can bear, so nothing of it is put into this program's Python. This file
uses the standard library alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 120.0
"""Seconds until it must have told its address: the first start after an update compiles files."""
PROGRAM = "loralathe.integrations"
"""What the process runs: `__main__.py`."""
KINDS = ("checkpoints", "loras", "vaes", "embeddings")
NOTE = Path(__file__).with_name("python.txt")
"""loralathe's Python, and the folder of its sources where it is not installed in it."""
AGAIN = "lathe install webui DIR --force"


class NotStartedError(Exception):
    """Why the workshop did not start: what, where, and what to do."""

    def __init__(self, what: str, where: str | None = None, fix: str | None = None) -> None:
        super().__init__("\n".join(filter(None, (what, where, fix))))
        self.what, self.where, self.fix = what, where, fix


@dataclass
class WorkshopBeside:
    """A workshop that this program starts and stops.

    out: where results go;  folders: of `KINDS`, only read;  presets: another program's block lists.
    frames: addresses of the pages that show it;  note: see `NOTE`.
    programs: folders of programs that may draw in place of it: `webui` is this one.
    """

    out: Path
    folders: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    presets: Path | None = None
    frames: Sequence[str] = ()
    programs: Mapping[str, Path] = field(default_factory=dict)
    note: Path = NOTE
    _process: subprocess.Popen[str] | None = None
    _address: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> str:
        """Its address; a workshop that runs is not started again. Raises NotStartedError in its own words."""
        with self._lock:
            if not self.is_running:
                self._process, self._address = self._started()
            return self._address

    def _started(self) -> tuple[subprocess.Popen[str], str]:
        python, surroundings = _python(self.note)
        try:
            process = subprocess.Popen(
                [python, "-m", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=surroundings,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            raise NotStartedError(
                "loralathe's Python cannot be started", f"{python}: {error}", AGAIN
            ) from error
        assert process.stdin is not None
        assert process.stdout is not None
        waiting = threading.Timer(PATIENCE, process.kill)
        waiting.start()
        try:
            print(json.dumps(self._choices()), file=process.stdin, flush=True)
            told = json.loads(process.stdout.readline() or "{}")
        except (OSError, ValueError):
            told = {}
        finally:
            waiting.cancel()
        if "address" not in told:
            process.kill()
            _close(process)
            what = told.get("what", "the workshop did not start")
            raise NotStartedError(what, told.get("where") or python, told.get("fix") or AGAIN)
        return process, told["address"]

    def _choices(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "folders": {kind: [str(one) for one in self.folders.get(kind, ())] for kind in KINDS},
            "presets": None if self.presets is None else str(self.presets),
            "frames": list(self.frames),
            "programs": {name: str(folder) for name, folder in self.programs.items()},
        }

    def stop(self) -> None:
        """End it; a job under way ends as on Ctrl-C: outputs are whole or absent."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        _close(process)


def _python(note: Path) -> tuple[str, dict[str, str]]:
    """loralathe's Python, and what its processes find around them: not what is set for this program's."""
    try:
        python, *sources = note.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise NotStartedError("where loralathe is, is not known", f"{note}: {error}", AGAIN) from error
    kept = {name: text for name, text in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return python, kept | ({"PYTHONPATH": sources[0]} if sources else {})


def _close(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()
