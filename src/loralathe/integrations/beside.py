"""The workshop in a process of its own, beside another program: it ends with it, however that ends."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loralathe import MachineError, json_text

PATIENCE = 120.0
"""Seconds until it must have told its address: the first start after an update compiles files."""
PROGRAM = "loralathe.integrations"
"""What the process runs: `__main__.py`."""
KINDS = ("checkpoints", "loras", "vaes", "embeddings")


@dataclass
class WorkshopBeside:
    """A workshop that this program starts and stops.

    out: where results go;  folders: of `KINDS`, only read;  presets: another program's block lists.
    frames: addresses of the pages that show it.
    """

    out: Path
    folders: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    presets: Path | None = None
    frames: Sequence[str] = ()
    _process: subprocess.Popen[str] | None = None
    _address: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> str:
        """Its address; a workshop that runs is not started again. Raises MachineError in its own words."""
        with self._lock:
            if not self.is_running:
                self._process, self._address = self._started()
            return self._address

    def _started(self) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        assert process.stdin is not None
        assert process.stdout is not None
        waiting = threading.Timer(PATIENCE, process.kill)
        waiting.start()
        try:
            print(json_text(self._choices()), file=process.stdin, flush=True)
            told = json.loads(process.stdout.readline() or "{}")
        except (OSError, ValueError):
            told = {}
        finally:
            waiting.cancel()
        if "address" not in told:
            process.kill()
            _close(process)
            raise MachineError(
                told.get("what", "the workshop did not start"),
                where=told.get("where"),
                fix=told.get("fix") or 'pip install "loralathe[ui,render]"',
            )
        return process, told["address"]

    def _choices(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "folders": {kind: [str(one) for one in self.folders.get(kind, ())] for kind in KINDS},
            "presets": None if self.presets is None else str(self.presets),
            "frames": list(self.frames),
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


def _close(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()
