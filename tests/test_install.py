"""The README's install lines, as they are printed, in environments that hold nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from printed import ROOT, commands_in

PAGES = ("README.md", "README.zh-TW.md", "docs/pictures.md", "docs/pictures.zh-TW.md", "docs/workshop.md")
LINES = sorted({
    line for page in PAGES for line in commands_in((ROOT / page).read_text("utf-8")) if line.startswith("pip")
})  # fmt: skip
OTHER_INDEX = "--index-url"
"""Lines that name an index of torch's own are for machines that reach it."""


def test_the_pages_say_how_to_install() -> None:
    assert {"pip install .", 'pip install ".[render]"'} <= set(LINES)
    for page in ("README.md", "README.zh-TW.md"):
        text = (ROOT / page).read_text("utf-8")
        assert "python3 -m venv .venv\n. .venv/bin/activate\n" in text
        assert "py -m venv .venv\n.venv\\Scripts\\activate\n" in text


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    os.name == "nt", reason="the lines for bash; those for Windows differ in activation alone"
)
@pytest.mark.parametrize("line", [line for line in LINES if OTHER_INDEX not in line])
def test_a_line_installs_a_lathe_that_works(line: str, tmp_path: Path) -> None:
    """In a copy of what git holds, with the versions of constraints.txt, from the index that pip knows."""
    copy = tmp_path / "loralathe"
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in kept.stdout.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    lines = ("python3 -m venv .venv", ". .venv/bin/activate", line, "lathe --version", "lathe merge --help")
    bare = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    bare["PATH"] = f"{Path(sys.executable).resolve().parent}{os.pathsep}{bare['PATH']}"
    bare["PIP_CONSTRAINT"] = str(copy / "constraints.txt")
    script = "set -e\n" + "\n".join(lines)
    done = subprocess.run(
        ["bash", "-c", script], check=False, cwd=copy, env=bare, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Usage: lathe merge" in done.stdout
