"""A process that has torch loaded and forks one child for each run: runs that may be killed cost no start.

`python stage.py` reads requests from stdin, one JSON object a line, and answers on stdout: the child's pid
when it starts, what the child says, if anything, then how it ended.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

TESTS = Path(__file__).resolve().parents[1]


class Stage:
    """The parent's side."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, folder: Path, formula: str, **request: object) -> int:
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

    def run(self, folder: Path, formula: str, **request: object) -> dict[str, object]:
        self.start(folder, formula, **request)
        return self.wait()

    def _answer(self) -> dict[str, object]:
        assert self._process.stdout is not None
        answer: dict[str, object] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def open_stage(cache: Path) -> Iterator[Stage]:
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
        yield Stage(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    import torch

    import loralathe.engine.execute
    import loralathe.engine.piece  # noqa: F401 -- children shall find everything loaded

    torch.set_num_threads(1)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _perform(json.loads(line))
        _say({"pid": pid})
        _, status = os.waitpid(pid, 0)
        _say({"code": os.waitstatus_to_exitcode(status)})


def _perform(request: dict[str, object]) -> NoReturn:
    """One run, then the end of the process.

    out: the output's name;  threads, force, hash_inputs: as in RunOptions;
    limit: bytes that a file may have (RLIMIT_FSIZE);
    trap: ["fsync", 2, "before"]: die by SIGKILL before, or after, the second call of os.fsync.
    """
    from loralathe.engine import RunOptions, run_recipe
    from loralathe.errors import LatheError
    from robustness.house import recipe_in

    folder, formula = Path(str(request["folder"])), str(request["formula"])
    if "limit" in request:
        limit = int(str(request["limit"]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if "trap" in request:
        name, count, when = request["trap"]  # type: ignore[misc]
        _set_trap(name, count, when)
    threads = int(str(request.get("threads", 2)))
    options = RunOptions(threads=threads, force=bool(request.get("force")), hash_inputs=False)
    try:
        run_recipe(recipe_in(folder, formula, out=str(request.get("out", "out.safetensors"))), options)
    except LatheError as error:
        _say({"error": type(error).__name__, "text": str(error).replace(str(folder), "DIR")})
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(0)


def _set_trap(name: str, count: int, when: str) -> None:
    real = getattr(os, name)
    numbers = itertools.count(1)  # next() is atomic: two threads never share, or skip, a number

    def trap(*args: object, **kwargs: object) -> object:
        mine = next(numbers)
        if mine == count and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if mine == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(os, name, trap)


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
