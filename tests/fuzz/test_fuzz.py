"""A short share of the fuzzing for every run of the tests, what was found so far, and the judge."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fuzz.case import Case, Fifo, Fixture, Folder, Link
from fuzz.shrink import smaller
from fuzz.targets import TARGETS
from fuzz.verdict import complaint
from fuzz.worker import Worker

TESTS = Path(__file__).resolve().parents[1]
FOUND = sorted((TESTS / "fuzz" / "found").glob("*.json"))
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guarded process needs fork and /proc")


def fuzz(*words: object) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-B", "-m", "fuzz"]
    return subprocess.run(
        [*command, *map(str, words)],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


@pytest.mark.long
def test_what_was_found_stays_mended_and_a_few_new_cases(tmp_path: Path) -> None:
    """In one process: most of the time goes into its imports."""
    assert len(FOUND) > 10
    ended = fuzz(
        "--limit", 300, "--seed", 0, "--cases", 1, "--keep", tmp_path / "failures", "--replay", *FOUND
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for file in FOUND:
        assert file.name in ended.stdout
    assert f"all{len(TARGETS):26}" in ended.stdout


Run = Callable[[Sequence[str]], int]


def refuse(words: Sequence[str]) -> int:
    print("lathe: error: this is not right\n  fix:   do otherwise", file=sys.stderr)
    return 2


def leave_a_file(words: Sequence[str]) -> int:
    Path("out.safetensors").write_bytes(b"half")
    return refuse(words)


def leave_half_a_file(words: Sequence[str]) -> int:
    Path("out.safetensors").write_bytes(b"half")
    return 0


def write_elsewhere(words: Sequence[str]) -> int:
    try:
        Path("/tmp/elsewhere-of-a-fuzzed-run").write_text("x")
    except PermissionError:
        return refuse(words)
    return 0


def call_the_network(words: Sequence[str]) -> int:
    with socket.socket() as made:
        made.settimeout(0.01)
        try:
            made.connect(("127.0.0.1", 9))
        except OSError:
            return refuse(words)
    return 0


def start_a_program(words: Sequence[str]) -> int:
    try:
        os.system("true")
    except PermissionError:
        return refuse(words)
    return 0


def change_an_input(words: Sequence[str]) -> int:
    Path("lists.txt").write_text("other")
    return 0


def lose_an_input(words: Sequence[str]) -> int:
    Path("lists.txt").unlink()
    return refuse(words)


def run_out_of_memory(words: Sequence[str]) -> int:
    try:
        bytearray(1 << 40)
    except MemoryError:
        print("lathe: error: not enough memory", file=sys.stderr)
    return 3


def crash(words: Sequence[str]) -> int:
    faulthandler.disable()  # pytest's would print pages about a crash that is meant
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def colour_the_terminal(words: Sequence[str]) -> int:
    print("\x1b[31mred")
    return 0


PLANTED: list[tuple[Run, str | None]] = [
    (lambda words: 0, None),
    (refuse, None),
    (lambda words: 2, "0 lines say what is wrong"),
    (lambda words: 1, "exit code 1"),
    (crash, "SIGSEGV"),
    (lambda words: time.sleep(60) or 0, "no end after 2 seconds"),
    (leave_a_file, "failed, and left out.safetensors"),
    (leave_half_a_file, "left out.safetensors"),
    (write_elsewhere, "writing /tmp/elsewhere-of-a-fuzzed-run"),
    (call_the_network, "socket.connect"),
    (start_a_program, "os.system"),
    (change_an_input, "changed: lists.txt"),
    (lose_an_input, "changed: lists.txt"),
    (run_out_of_memory, "memory ran out"),
    (colour_the_terminal, "control character"),
]


@pytest.fixture
def fixtures(tmp_path: Path) -> Path:
    (tmp_path / "fixtures").mkdir()
    (tmp_path / "fixtures" / "A.safetensors").write_bytes(b"sound")
    return tmp_path / "fixtures"


@pytest.fixture
def hire(fixtures: Path, tmp_path: Path) -> Iterator[Callable[[Run], Worker]]:
    workers: list[Worker] = []

    def new(run: Run) -> Worker:
        workers.append(Worker(fixtures, tmp_path, run, seconds=2))
        return workers[-1]

    yield new
    for worker in workers:
        worker.close()


@pytest.mark.quick(8)
@pytest.mark.parametrize(("run", "said"), PLANTED)
@pytest.mark.long
def test_the_judge_sees_what_was_planted(hire: Callable[[Run], Worker], run: Run, said: str | None) -> None:
    case = Case("planted", ("x",), {"lists.txt": b"mine", "A.safetensors": Fixture("A.safetensors")})
    outcome = hire(run)(case)
    found = complaint(case, outcome)
    if said is None:
        assert found is None
    else:
        assert said in (found or "nothing"), outcome


def test_a_worker_goes_on_after_one_died(hire: Callable[[Run], Worker]) -> None:
    def run(words: Sequence[str]) -> int:
        if words[0] == "die":
            os._exit(7)
        return 0

    worker = hire(run)
    assert worker(Case("t", ("die",))).end == "the process died: exit code 7"
    assert worker(Case("t", ("live",))).code == 0


def test_cases_are_kept_whole() -> None:
    files = {
        "a": b"text",
        "b": bytes(range(256)),
        "c/d": Fixture("A"),
        "e": Link("/dev/zero"),
        "f": Folder(),
        "g": Fifo(),
    }
    case = Case("t", ("run", "half \udcff", "\x1b"), files, ("a",))
    assert Case.from_json(case.to_json()) == case


def test_a_failure_is_made_small() -> None:
    case = Case(
        "t", ("eval", "aaaa(bb", "--flag"), {"x": b"12345#6789", "A": Fixture("A")}, may_change=("x",)
    )
    small = smaller(case, lambda other: "(" in "".join(other.words[1:2]) and b"#" in other.files["x"])  # type: ignore[operator]
    assert small == Case("t", ("eval", "("), {"x": b"#"}, ("x",))
