"""A real browser for tests of pages: what a person sees after the scripts have run."""

from __future__ import annotations

import html
import json
import re
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


def asked_of(page: Path, question: str, width: int, height: int, query: str = "") -> dict[str, object]:
    """What the body of a function says on the page in a window of this size, as JSON.

    Windows of Chromium are at least 500 wide, so the page stands in a frame. A page in a file is a stranger
    to the one around it: so a copy of it asks itself, and sends the answer out.
    """
    copy, host = page.with_name(f"asked-{page.name}"), page.with_name("host.html")
    answer = f"""<script>addEventListener("load", () => {{
        let told;
        try {{ told = (() => {{ {question} }})(); }} catch (error) {{ told = {{ error: `${{error}}` }}; }}
        parent.postMessage(JSON.stringify(told), "*");
    }});</script>"""
    text = page.read_text(encoding="utf-8").replace("</body>", f"{answer}</body>")
    copy.write_text(text, encoding="utf-8")
    frame = f'<iframe src="{copy.name}?{query}" style="width:{width}px;height:{height}px;border:0"></iframe>'
    script = "<script>addEventListener('message', (event) => { document.title = event.data; });</script>"
    host.write_text(f"<!doctype html><title></title><body>{script}{frame}</body>", encoding="utf-8")
    found = re.search(r"<title>(.*?)</title>", _run(host, "", "--dump-dom"), re.DOTALL)
    assert found is not None
    answered: dict[str, object] = json.loads(html.unescape(found[1]))
    return answered


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
