"""The installed command as a process: exit codes, SIGTERM, and a stdout that is only JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors

COMMAND = [sys.executable, "-c", "from loralathe.cli import main; main()"]
HEARING = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from loralathe.cli import main; main()",
]
"""The command where the tests themselves ignore Ctrl-C, as they do in the background of a shell."""


def environment(tmp_path: Path) -> dict[str, str]:
    source = str(Path(__file__).resolve().parents[2] / "src")
    return os.environ | {"PYTHONPATH": source, "LORALATHE_CACHE": str(tmp_path / "cache")}


def call(tmp_path: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, env=environment(tmp_path), check=False
    )


def test_codes(tmp_path: Path, models: Path) -> None:
    assert call(tmp_path, "--version").returncode == 0
    bad = call(tmp_path, "inspect", tmp_path / "nothing.safetensors")
    assert bad.returncode == 2
    assert bad.stderr.startswith("lathe: error: ")
    assert bad.stdout == ""


@pytest.mark.long
def test_stdout_is_json_and_text_is_on_stderr(tmp_path: Path, models: Path) -> None:
    out = tmp_path / "x.safetensors"
    words = ("merge", models / "a.safetensors", models / "hina.safetensors", "-o", out, "--json")
    result = call(tmp_path, *words)
    assert result.returncode == 0, result.stderr
    events = [json.loads(line)["event"] for line in result.stdout.splitlines()]
    assert events[0] == "recipe"
    assert events[-1] == "report"
    assert {"start", "end"} <= set(events)
    assert "a + hina" in result.stderr
    refused = call(tmp_path, *words)
    assert refused.returncode == 2
    assert json.loads(refused.stdout.splitlines()[-1])["event"] == "error"


@pytest.mark.quick(2)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("signals", ["TERM", "INT TERM INT", "INT"])
@pytest.mark.long
def test_signals_leave_nothing_behind(tmp_path: Path, signals: str) -> None:
    """Those that come during the teardown change nothing."""
    base = write_safetensors(tmp_path / "a.safetensors", tiny_checkpoint("sd1", seed=1, width_divisor=8))
    lora = write_safetensors(
        tmp_path / "l.safetensors", tiny_lora("sd1", rank=64, alpha=1, seed=2, width_divisor=8)
    )
    folder = tmp_path / "out"
    folder.mkdir()
    words = ("merge", base, lora, "-o", folder / "x.safetensors", "--threads", "1")
    for _ in range(10):  # on a busy machine the merge may be over before the signal comes
        process = subprocess.Popen(
            [*HEARING, *map(str, words)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment(tmp_path),
        )  # fmt: skip
        while not list(folder.iterdir()) and process.poll() is None:
            time.sleep(0.002)
        for name in signals.split():
            process.send_signal(signal.Signals[f"SIG{name}"])
            time.sleep(0.005)
        _, errors = process.communicate(timeout=300)
        if not (folder / "x.safetensors").exists():
            break
        (folder / "x.safetensors").unlink()
    assert process.returncode == 130, errors
    assert errors.strip() == "lathe: interrupted; no output was written"
    assert list(folder.iterdir()) == []


@pytest.mark.quick(1)
@pytest.mark.skipif(sys.platform == "win32", reason="closes descriptors as Unix shells do")
@pytest.mark.parametrize("lost", ["closed", "nobody reads", "full"])
@pytest.mark.long
def test_a_lost_stdout_does_not_decide_whether_a_file_is_made(
    tmp_path: Path, models: Path, lost: str
) -> None:
    out = tmp_path / "x.safetensors"
    words = [*COMMAND, "resize", str(models / "hina.safetensors"), "--rank", "1", "-o", str(out)]
    reader, writer = os.pipe()
    os.close(reader)
    if lost == "closed":
        words = ["sh", "-c", '"$@" >&-', "sh", *words]
    elif lost == "full":
        if not Path("/dev/full").exists():
            pytest.skip("the system has no /dev/full")
        os.close(writer)
        writer = os.open("/dev/full", os.O_WRONLY)
    result = subprocess.run(
        words, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment(tmp_path), check=False
    )
    os.close(writer)
    assert out.is_file(), result.stderr
    assert result.returncode == (3 if lost == "full" else 0), result.stderr
    assert ("standard output" in result.stderr) == (lost == "full")
