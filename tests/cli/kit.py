"""The command run in this process: a type and fixtures for the folders of tests that import them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from loralathe.cli import lathe

Run = Callable[..., Result]
"""`run("merge", path, …)` gives stdout, stderr and exit_code."""


@pytest.fixture(autouse=True)
def quiet_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No cache in the user's home, a terminal of 100 columns, no debugging."""
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("LATHE_DEBUG", raising=False)


@pytest.fixture
def run() -> Run:
    """`run("merge", path, …)`: the command's result, with stdout, stderr and exit_code."""

    def call(*words: object) -> Result:
        return CliRunner().invoke(lathe, [str(word) for word in words], prog_name="lathe")

    return call


@pytest.fixture
def done(run: Run) -> Run:
    """`run` that must end with 0."""

    def call(*words: object) -> Result:
        result = run(*words)
        assert result.exit_code == 0, result.output
        return result

    return call
