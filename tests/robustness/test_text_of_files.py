"""Text of files in what we say: it moves no cursor, turns nothing round, hides nothing, forges no line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from checkpoints import write_safetensors
from cli.kit import Run, run  # noqa: F401
from loralathe.cli import screen
from loralathe.commands import as_flag
from loralathe.errors import InputError, json_text, printable

HIDDEN = "\x1b\x7f\x9b\u00ad\u200b\u200d\u2028\u2029\u202e\u2066\u2069\u061c\ufeff"
FORGED = "x\nlathe: error: all is lost"


@pytest.mark.parametrize("sign", HIDDEN)
def test_nothing_hidden_is_shown(sign: str) -> None:
    for shown in (printable(f"a{sign}b"), json_text({f"a{sign}b": [sign]})):
        assert not set(HIDDEN) & set(shown)
    assert json.loads(json_text({sign: sign})) == {sign: sign}


def test_what_people_write_stays() -> None:
    text = "café 測試：（全形）\tnaïve 👩 e\u0301"
    assert printable(text) == text
    assert json.loads(json_text(text)) == text


def test_a_line_break_forges_no_line() -> None:
    error = InputError(FORGED, where=FORGED, fix=FORGED)
    assert not any(line.startswith("lathe: error: all") for line in str(error).split("\n"))


@pytest.mark.parametrize("width", [None, 80])
@pytest.mark.parametrize("name", ["n" * 1_000_000, "n\n" * 100_000, ("\x1b" * 5000 + "\n") * 100])
def test_an_error_is_no_longer_than_anybody_reads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int | None, name: str
) -> None:
    monkeypatch.setattr(screen, "stderr_width", lambda: width)
    screen.tell(InputError(name, where=name, fix=name).text(as_flag))
    assert len(capsys.readouterr().err) < 20_000


@pytest.mark.parametrize("words", [["inspect"], ["inspect", "--json"], ["inspect", "--norms"]])
def test_names_of_tensors(tmp_path: Path, words: list[str], run: Run) -> None:  # noqa: F811
    tensors = {f"{name}{HIDDEN}.weight": torch.ones(2) for name in ("a", FORGED)}
    file = tmp_path / "x.safetensors"
    write_safetensors(file, tensors, {f"note{HIDDEN}": FORGED + HIDDEN})
    shown = run(*words, str(file))
    text = shown.stdout + shown.stderr
    assert not set(HIDDEN) & set(text)
    assert not any(line.startswith("lathe: error: all") for line in text.split("\n"))
