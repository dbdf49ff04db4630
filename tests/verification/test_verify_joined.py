"""`lathe verify` on LoRAs whose ranks come from a budget or a mode, and on joined and resized ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from safetensors.torch import load_file, save_file

import loralathe
from loralathe.progress import CallableSink, Progress
from verification.conftest import Workshop


def made(shop: Workshop, folder: Path, formula: str, dtype: str | None = None) -> Path:
    file = folder / "x.safetensors"
    inputs = {name: shop.path(name) for name in ("A", "B", "lora") if name in formula}
    loralathe.evaluate(formula, inputs, output=file, dtype=dtype)
    return file


@pytest.mark.long
@pytest.mark.quick(3)
@pytest.mark.parametrize(
    "formula",
    [
        "extract(B - A, energy=0.6)",
        "extract(B - A, size='60kB', rank=8)",
        "extract(B - A, ratio=0.5)",
        "extract(B - A, full=True)",
        "combine(0.7*lora, rank=1)",
        "combine(0.7*lora)",
        "resize(lora, energy=0.8)",
        "resize(lora + extract(B - A, rank=2), rank=3)",
        "A + 0.5*extract(B - A, energy=0.6)",
    ],
)
def test_what_was_made_verifies(sd1: Workshop, tmp_path: Path, formula: str) -> None:
    found = loralathe.verify(made(sd1, tmp_path, formula), search=[sd1.folder])
    assert [finding.what for finding in found.findings] == []
    assert found.total.checked > 0


def test_the_first_pass_of_a_budget(sd1: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is seen as a run's is, and its spool is closed."""
    file, spools, events = made(sd1, tmp_path, "extract(B - A, energy=0.6)"), [], []

    def spool(**options: Any) -> IO[bytes]:
        spools.append(tempfile.TemporaryFile(**options))  # noqa: SIM115
        return spools[-1]

    with monkeypatch.context() as patched:
        patched.setattr("loralathe.engine.budgets.tempfile", SimpleNamespace(TemporaryFile=spool))
        assert loralathe.verify(file, search=[sd1.folder], progress=Progress(CallableSink(events.append))).ok
    tasks = [event.task for event in events if event.kind == "start" and "hashing" not in event.task]
    assert tasks == ["finding singular values", "verifying"]
    assert [opened.closed for opened in spools] == [True]


@pytest.mark.parametrize("formula", ["extract(B - A, energy=0.6)", "combine(0.7*lora)"])
def test_a_changed_number_is_found(sd1: Workshop, tmp_path: Path, formula: str) -> None:
    from safetensors import safe_open

    file = made(sd1, tmp_path, formula)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(file)
    key = next(key for key in tensors if key.endswith("lora_up.weight"))
    tensors[key][0] += 0.5
    save_file(tensors, file, metadata)
    assert any(
        key.split(".")[0] in finding.place
        for finding in loralathe.verify(file, search=[sd1.folder], everything=True).findings
    )


def test_inputs_are_always_hashed(sd1: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A remembered hash says what a file was; what it is, only its bytes say."""
    file = made(sd1, tmp_path, "combine(0.7*lora)")
    monkeypatch.setattr("loralathe.tensorfiles.hashes.HashCache.get", lambda *_: "0" * 64)
    assert loralathe.verify(file, search=[sd1.folder]).ok
