"""A workshop that runs, for tests: a process of its own on a free port, and JSON in and out."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SOURCES = Path(__file__).resolve().parents[2] / "src"
QUICK = {"prompt": "hina", "steps": 1, "cfg": 1, "size": "32x32", "seed": 1}
"""The smallest picture."""
ENDED = ("done", "failed", "cancelled", "interrupted")


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error in the answer; there is one, in words."""
        assert self.status >= 400, self.body[:500]
        found: dict[str, Any] = self.json["error"]
        assert set(found) == {"what", "where", "fix", "field"}
        assert found["what"]
        return found


class Workshop:
    """One on `folder/models`, where checkpoints and LoRAs lie; results go to `folder/out`.

    demo: none of them is named, so that it opens on the tiny family, with its prompt and settings.
    """

    def __init__(self, folder: Path, *, demo: bool = False) -> None:
        self.folder, self.out = folder, folder / "out"
        self.models = self.out / "demo" if demo else folder / "models"
        self.folders = [] if demo else ["--checkpoints", str(self.models), "--loras", str(self.models)]
        self.out.mkdir(exist_ok=True)
        self.log = folder / "server.log"
        self.start()

    def start(self, port: int = 0) -> None:
        words = ["ui", "--json", "--no-browser", "--port", str(port), "--out", str(self.out), *self.folders]
        environment = {**os.environ, "PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "loralathe.cli", *words],
                cwd=self.folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.address = str(ready["address"])
        self.host = urlsplit(self.address).netloc

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.kill()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str | None] | None = None
    ) -> Answer:
        """Any request; the headers of our pages are there unless others are given, None for none."""
        given = {"X-Lathe": "1", **(headers or {})}
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        connection = http.client.HTTPConnection(self.host, timeout=120)
        try:
            connection.request(method, path, data, {k: v for k, v in given.items() if v is not None})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """What an address of the API says."""
        answer = self.ask("GET", f"/api/{path}")
        assert answer.status == 200, answer.body[:500]
        return answer.json

    def add(self, command: str, words: list[object], **options: object) -> dict[str, Any]:
        """A new job."""
        answer = self.ask("POST", "/api/jobs", {"command": command, "words": words, "options": options})
        assert answer.status == 201, answer.body[:500]
        found: dict[str, Any] = answer.json
        return found

    def job(self, number: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"jobs/{number}")
        return found

    def wait(self, number: str, *states: str, cells: int = 0) -> dict[str, Any]:
        """The job when it has ended, or is in one of these states with so many pictures."""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            job = self.job(number)
            if job["state"] in (states or ENDED) and len(job["cells"]) >= cells:
                return job
            assert job["state"] not in ENDED, job
            time.sleep(0.05)
        raise AssertionError(f"job {number} did not come to its end: {job}")

    def processes(self) -> list[int]:
        """Those that the server started."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(one) for one in found.split()]


def request(command: str, words: list[object], **options: object) -> dict[str, object]:
    return {"command": command, "words": words, "options": options}
