"""Inputs made once, copied for every test; remembered hashes stay out of the user's home."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from robustness.workdir import write_flux_inputs, write_inputs


@pytest.fixture(scope="session", autouse=True)
def _shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORALATHE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def hash_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this test alone."""
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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


@pytest.fixture(scope="session")
def few_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A, B and lora of few tensors, where many runs are made."""
    folder = tmp_path_factory.mktemp("few")
    write_flux_inputs(folder)
    return folder


@pytest.fixture
def few(few_models: Path, tmp_path: Path) -> Path:
    shutil.copytree(few_models, tmp_path / "few")
    return tmp_path / "few"
