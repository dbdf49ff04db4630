"""A real browser for tests of pages: what a person sees after the scripts have run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: `make chromium` gets one, and this test looks at the page"
)


def document_of(page: Path, query: str = "") -> str:
    """The page's elements after its scripts have run, as HTML."""
    return _run(page, query, "--dump-dom")


def photograph(page: Path, picture: Path, width: int, height: int, query: str = "") -> None:
    """The page as a window of this size shows it, as a PNG."""
    _run(page, query, f"--window-size={width},{height}", f"--screenshot={picture}")


def _run(page: Path, query: str, *words: str) -> str:
    assert CHROMIUM is not None
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # browsers of other tests run, too
        command = [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--no-first-run",
            f"--user-data-dir={profile}",
            "--virtual-time-budget=2000",
            *words,
            f"{page.resolve().as_uri()}?{query}",
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
