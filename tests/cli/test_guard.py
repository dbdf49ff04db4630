"""How commands end: codes and texts for every kind of error."""

from __future__ import annotations

import errno
import json
import re

import click
import pytest

from cli.kit import Run
from loralathe.cli import lathe
from loralathe.cli.app import command_names
from loralathe.cli.guard import guarded
from loralathe.errors import InputError, MachineError


def raising(error: BaseException) -> object:
    def run() -> None:
        raise error

    return run


CASES = [
    (InputError("no", where="here", fix="so"), 2, "lathe: error: no\n  where: here\n  fix:   so\n"),
    (MachineError("full"), 3, "lathe: error: full\n"),
    (
        MemoryError(),
        3,
        "lathe: error: not enough memory\n"
        "  fix:   give a smaller --memory or fewer --threads, or close other programs\n",
    ),
    (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes."),
        3,
        "lathe: error: not enough memory\n"
        "  fix:   give a smaller --memory or fewer --threads, or close other programs\n",
    ),
    (
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0 has a total capacity of …"),
        3,
        "lathe: error: not enough memory\n  where: CUDA out of memory\n"
        "  fix:   give a smaller --memory or fewer --threads, or leave --device out\n",
    ),
    (
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
        3,
        "lathe: error: not enough memory\n"
        "  where: cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`\n"
        "  fix:   give a smaller --memory or fewer --threads, or leave --device out\n",
    ),
    (
        OSError(errno.ENOSPC, "No space left on device", "/x"),
        3,
        "lathe: error: the disk is full\n  where: /x\n  fix:   free some space, or write to another disk\n",
    ),
    (
        PermissionError(errno.EACCES, "Permission denied", "/x"),
        3,
        "lathe: error: the system refused: Permission denied\n"
        "  where: /x\n  fix:   check the file, folder and disk\n",
    ),
    (KeyboardInterrupt(), 130, "lathe: interrupted; no output was written\n"),
    (click.Abort(), 130, "lathe: interrupted; no output was written\n"),
]


@pytest.mark.parametrize("name", command_names())
def test_advice_names_options_that_the_command_has(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    command = lathe.get_command(click.Context(lathe), name)
    monkeypatch.setattr(command, "invoke", lambda _: raising(MemoryError())())  # type: ignore[operator]
    monkeypatch.setattr(command, "parse_args", lambda *_: [])
    result = run(name)
    assert result.exit_code == 3
    advised = set(re.findall("--[a-z]+", result.stderr))
    assert advised == {"--memory", "--threads"} & {flag for one in command.params for flag in one.opts}


@pytest.mark.parametrize(("error", "code", "text"), CASES, ids=lambda case: type(case).__name__)
def test_codes_and_texts(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    assert guarded(raising(error), [], lambda: ["--memory", "--threads"]) == code  # type: ignore[arg-type]
    shown = capsys.readouterr()
    assert shown.err == text
    assert shown.out == ""


def test_a_bug_of_ours_is_short_and_says_how_to_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(ZeroDivisionError("division by zero")), []) == 1  # type: ignore[arg-type]
    shown = capsys.readouterr().err
    assert shown.startswith("lathe: error: this is a bug in loralathe: ZeroDivisionError: division by zero\n")
    assert "LATHE_DEBUG=1" in shown
    assert "Traceback" not in shown


def test_debugging_shows_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATHE_DEBUG", "1")
    assert guarded(raising(ZeroDivisionError("x")), []) == 1  # type: ignore[arg-type]
    assert "Traceback" in capsys.readouterr().err


def test_json_has_the_error_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(InputError("nö", fix="so")), ["inspect", "--json"]) == 2  # type: ignore[arg-type]
    record = json.loads(capsys.readouterr().out)
    assert record == {"event": "error", "what": "nö", "where": None, "fix": "so", "exit_code": 2}


def test_nothing_is_said_when_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: None, []) == 0
    assert capsys.readouterr() == ("", "")
