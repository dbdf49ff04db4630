"""The files that are double-clicked: they parse, and speak both languages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from printed import ROOT

CHINESE = re.compile(r"[\u4e00-\u9fff]")
SAID = {
    "start.sh": re.compile(r'echo "(.*)"'),
    "start.bat": re.compile(r"^echo (.*)$", re.MULTILINE),
}
for_sh = pytest.mark.skipif(os.name == "nt", reason="files for sh")


@pytest.mark.parametrize("name", SAID)
def test_every_text_is_in_both_languages(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    said = SAID[name].findall(text)
    assert len(said) == 2
    for line in said:
        english, _, chinese = line.partition(" / ")
        assert english.isascii()
        assert CHINESE.search(chinese)


def test_both_systems_say_the_same() -> None:
    texts = [sorted(SAID[name].findall((ROOT / name).read_text("utf-8"))) for name in SAID]
    assert texts[0] == texts[1]


def test_the_console_of_windows_can_read_its_file() -> None:
    """cmd.exe reads the code page that holds when it comes to a line, and needs CRLF to find labels."""
    raw = (ROOT / "start.bat").read_bytes()
    assert raw.count(b"\n") == raw.count(b"\r\n")
    before, chosen, _ = raw.partition(b"chcp 65001 >nul\r\n")
    assert chosen
    assert before.isascii()
    text = raw.decode("utf-8")
    labels = set(re.findall(r"^:(\w+)\r$", text, re.MULTILINE))
    assert set(re.findall(r"goto (\w+)", text)) == labels
    assert text.count("(") == text.count(")")


@for_sh
@pytest.mark.parametrize("name", ["start.sh", "start.command"])
def test_the_files_for_sh_parse(name: str) -> None:
    for shell in filter(shutil.which, ("sh", "bash", "dash")):
        subprocess.run([shell, "-n", ROOT / name], check=True)
    assert os.access(ROOT / name, os.X_OK)


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def started(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    for name in ("start.sh", "start.command"):
        shutil.copy(ROOT / name, folder)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [folder / "start.command", *words],
        env={**os.environ, "PATH": path},
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@for_sh
def test_what_is_there_is_opened(tmp_path: Path) -> None:
    program(tmp_path / ".venv/bin/python", "exit 0")
    program(tmp_path / ".venv/bin/lathe", 'echo "lathe $*"')
    result = started(tmp_path, "--port", "8080")
    assert (result.returncode, result.stdout) == (0, "lathe ui --port 8080\n")


@for_sh
def test_a_failure_is_told_in_both_languages(tmp_path: Path) -> None:
    program(tmp_path / "bin/python3", 'echo "no venv here" >&2; exit 3')
    result = started(tmp_path)
    assert result.returncode == 1
    assert "no venv here" in result.stderr
    assert "Something went wrong" in result.stdout
    assert "出了問題" in result.stdout
