"""A process that has torch loaded and forks one child for each run: runs that may be killed cost no start.

`python forkserver.py` reads requests from stdin, one JSON object a line, and answers on stdout: the child's
pid when it starts, what the child says, if anything, then how it ended.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

TESTS = Path(__file__).resolve().parents[1]


class ForkServer:
    """The parent's side."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, folder: Path, formula: str = "", **request: object) -> int:
        """Fork a run of `out = formula` over the folder's files; its pid. See `_perform` for the rest."""
        assert self._process.stdin is not None
        line = json.dumps({"folder": str(folder), "formula": formula, **request})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        pid = self._answer()["pid"]
        assert isinstance(pid, int)
        return pid

    def wait(self) -> dict[str, object]:
        """How the run ended: `code` as in subprocess, and `error`, `text` of an expected error."""
        answer: dict[str, object] = {}
        while "code" not in answer:
            answer |= self._answer()
        return answer

    def run(self, folder: Path, formula: str = "", **request: object) -> dict[str, object]:
        self.start(folder, formula, **request)
        return self.wait()

    def _answer(self) -> dict[str, object]:
        assert self._process.stdout is not None
        answer: dict[str, object] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def open_forkserver(cache: Path) -> Iterator[ForkServer]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)]),
        "LORALATHE_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield ForkServer(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    import torch

    # Children shall find everything loaded.
    import loralathe.engine.execute
    import loralathe.engine.row_slice
    import loralathe.studies.grid  # noqa: F401
    import studies.fakes  # noqa: F401

    torch.set_num_threads(1)
    # Runs hear signals even if the tests ignore them, as in the background of a shell.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _perform(json.loads(line))
        _say({"pid": pid})
        _, status = os.waitpid(pid, 0)
        _say({"code": os.waitstatus_to_exitcode(status)})


def _perform(request: dict[str, object]) -> NoReturn:
    """One run, then the end of the process.

    job: one of JOBS, "formula" if not given;  out, threads, force: as in RunOptions;
    limit: bytes that a file may have (RLIMIT_FSIZE);
    trap: ["fsync", 2, "before"]: die by SIGKILL before, or after, the second call of os.fsync;
    fault: ["pwrite", 7, "ENOSPC"]: that call fails, and later writes too when the disk is full;
    pieces: writes take less than they are given;  signals: one comes every millisecond;
    count: say how often the calls that may fail were made.
    """
    from loralathe.errors import LatheError
    from robustness.jobs import JOBS

    folder = Path(str(request["folder"]))
    counts = _set_faults(request)
    try:
        JOBS[str(request.get("job", "formula"))](folder, request)
    except LatheError as error:
        _say({"error": type(error).__name__, "text": str(error).replace(str(folder), "DIR")})
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    if counts is not None:
        _say({"calls": dict(counts)})
    os._exit(0)


def _set_faults(request: dict[str, Any]) -> Counter[str] | None:
    from robustness import faults

    if "limit" in request:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"], request["limit"]))
    if "trap" in request:
        faults.die_at(*request["trap"])
    if "fault" in request:
        faults.fail_at(*request["fault"])
    if request.get("pieces"):
        faults.write_in_small_pieces()
    if request.get("signals"):
        faults.interrupt_every_millisecond()
    return faults.count_calls() if request.get("count") else None


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
