"""`lathe --help` is instant and light; every command explains itself with an example."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.kit import Run
from loralathe.cli.app import command_names

COMMANDS = command_names()
HEAVY = ("torch", "numpy", "rich", "safetensors")


def loaded_after(tmp_path: Path, *words: str) -> set[str]:
    """Which heavy packages a command imports, asked in a process of its own."""
    script = (
        "import sys\nfrom loralathe.cli import lathe\n"
        f"try:\n    lathe.main({list(words)!r}, prog_name='lathe')\n"
        "except SystemExit as end:\n    assert end.code == 0, end.code\n"
        f"print('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment(tmp_path)
    )
    return set(result.stdout.rpartition("LOADED")[2].split())


def environment(cache: Path) -> dict[str, str]:
    """Compiled modules are kept, as they are for every installed program."""
    kept = {key: text for key, text in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    source = str(Path(__file__).resolve().parents[2] / "src")
    return kept | {"PYTHONPATH": source, "PYTHONPYCACHEPREFIX": str(cache / "pyc")}


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_after(tmp_path, "--help") == set()
    assert loaded_after(tmp_path, "merge", "--help") == set()


def test_inspect_does_not_import_torch(tmp_path: Path, models: Path) -> None:
    loaded = loaded_after(
        tmp_path, "inspect", str(models / "a.safetensors"), str(models / "hina.safetensors")
    )
    assert loaded == {"rich"}


STANDARD = "import asyncio, decimal, http.server, unittest.mock, xml.dom.minidom"
"""Modules of Python itself whose import takes 170 ms of a processor on which the help takes 240."""


def test_help_takes_under_300_ms_of_a_processor(tmp_path: Path) -> None:
    """Of the processor on which `STANDARD` takes 170: one that others keep busy is slower by the clock and by
    its own time, and must not fail the test."""

    def spent(script: str, *words: str) -> float:
        before = os.times()
        command = [sys.executable, "-c", script, *words]
        subprocess.run(command, capture_output=True, check=True, env=environment(tmp_path))
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    helps, standards = [], []
    for _ in range(4):
        helps.append(spent("from loralathe.cli import main; main()", "--help"))
        standards.append(spent(STANDARD))
    assert min(helps) / min(standards) < 300 / 130


def test_overview_lists_every_command(done: Run) -> None:
    text = done("--help").stdout
    for name in COMMANDS:
        assert f"  {name} " in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_within_the_width(done: Run, name: str) -> None:
    text = done(name, "--help").stdout
    assert "Example" in text
    assert f"  lathe {name} " in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", COMMANDS)
def test_command_and_overview_agree(name: str) -> None:
    from click import Context

    from loralathe.cli import lathe

    command = lathe.get_command(Context(lathe), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_version(done: Run) -> None:
    import loralathe

    assert done("--version").stdout == f"lathe {loralathe.__version__}\n"


def test_no_arguments_show_the_help(run: Run) -> None:
    result = run()
    assert result.exit_code == 2
    assert "Look at files:" in result.stderr


def test_help_is_a_command_too(done: Run, run: Run) -> None:
    assert done("help").stdout == done("--help").stdout == done("help", "help").stdout == done("-h").stdout
    for name in COMMANDS:
        assert done("help", name).stdout == done(name, "--help").stdout == done(name, "-h").stdout
    assert "did you mean 'merge'?" in run("help", "mergee").stderr
    assert "did you mean 'help'?" in run("hlep").stderr


SAYS = [
    ("extract", "Without it (or --conv) they are left out", "no LoRA can hold"),
    ("resize", "One of these four is needed", "an upper limit with"),
    ("merge", "Worker threads", "--device"),
    ("add-difference", "Worker threads", "--device"),
    ("extract", "--device", "Of no use"),
    ("compare", "The verdict says in a sentence what the numbers mean", "leading directions"),
]


@pytest.mark.parametrize(("command", "said", "gone"), SAYS)
def test_options_say_what_they_mean_to_their_command(done: Run, command: str, said: str, gone: str) -> None:
    shown = " ".join(done(command, "--help").stdout.split())
    assert said in shown
    assert gone not in shown
