"""Inputs made once, copied for every test; remembered hashes stay out of the user's home."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from robustness.house import write_inputs


@pytest.fixture(autouse=True)
def hash_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LORALATHE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    write_inputs(folder)
    return folder


@pytest.fixture
def folder(originals: Path, tmp_path: Path) -> Path:
    """A, B and lora, fresh: a test may damage them."""
    shutil.copytree(originals, tmp_path / "models")
    return tmp_path / "models"
