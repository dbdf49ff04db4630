"""A command is two files: its function in `api/`, and its own file in `cli/commands/`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file

TOY = Path(__file__).parent / "toy"
SOURCE = Path(__file__).resolve().parents[2] / "src" / "loralathe"


@pytest.fixture(scope="module")
def lathe(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The command of a copy of loralathe in which two files were written: nothing else lists the command."""
    folder = tmp_path_factory.mktemp("copy")
    copy = folder / "loralathe"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors", "*.json"))
    shutil.copy(TOY / "largest.py", copy / "cli" / "commands")
    look = copy / "api" / "look.py"
    text = look.read_text(encoding="utf-8").replace("__all__ = [", '__all__ = ["largest",')
    look.write_text(text + (TOY / "look.py").read_text(encoding="utf-8"), encoding="utf-8")

    def call(*words: object) -> str:
        command = [sys.executable, "-m", "loralathe.cli", *map(str, words)]
        environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONIOENCODING": "utf-8"}
        result = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", env=environment)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return call


def test_it_is_listed_and_explains_itself(lathe: Callable[..., str]) -> None:
    section = lathe("--help").partition("Look at files:")[2].partition("\n\n")[0]
    assert "largest         Show the largest tensor of a file." in section
    assert "  lathe largest baseA.safetensors\n" in lathe("help", "largest")


def test_it_runs(lathe: Callable[..., str], models: Path) -> None:
    file = models / "a.safetensors"
    tensors = load_file(file)
    largest = max(tensors, key=lambda name: tensors[name].nbytes)
    assert lathe("largest", file) == f"{largest}\n"
    assert json.loads(lathe("largest", file, "--json").splitlines()[0]) == {
        "event": "largest",
        "name": largest,
    }
