"""The workshop on the demo family, and a visitor with a real browser."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import loralathe
from browser import CHROMIUM
from loralathe.words import read_page
from workshop.kit import Workshop

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENGLISH = tomllib.loads((Path(loralathe.__file__).parent / "workshop" / "texts.toml").read_text("utf-8"))


@dataclass
class Visitor:
    """Somebody with a browser in a language. Whatever a page complains about is remembered."""

    page: Any
    shop: Workshop
    language: str
    complaints: list[str] = field(default_factory=list)

    def t(self, key: str) -> str:
        """A word of the pages, without what stands for its values."""
        section, name = key.split(".")
        words = ENGLISH if self.language == "en" else read_page("zh-TW", "workshop")
        return re.sub(r"\s*\{\d\}\s*", "", words[section][name])

    def open(self, name: str) -> None:
        self.page.goto(f"{self.shop.address}#{name}")
        self.page.reload()
        self.page.locator("main h1").wait_for()

    def hear(self, kind: str, text: str) -> None:
        if kind == "error" and "Failed to load resource" not in text:  # a study that has no page yet is 404
            self.complaints.append(text)

    def button(self, key: str) -> Any:
        return self.page.get_by_role("button", name=self.t(key), exact=True)

    def input(self, option: str) -> Any:
        """The input of an option."""
        return self.page.locator(f'main [data-field="{option}"]').locator("input, textarea, select").first

    def ends(self, state: str = "done") -> None:
        """Wait for the job's card."""
        self.page.locator(f'main article.job[data-state="{state}"]').first.wait_for(timeout=60_000)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    shop = Workshop(tmp_path_factory.mktemp("workshop"), demo=True)
    yield shop
    shop.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium here: `make chromium` gets one")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def visit(chromium: Any, shop: Workshop, language: str) -> Iterator[Visitor]:
    context = chromium.new_context(locale=language, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    visitor = Visitor(page, shop, language)
    page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
    page.on("console", lambda said: visitor.hear(said.type, said.text))
    yield visitor
    context.close()


@pytest.fixture
def visitor(chromium: Any, shop: Workshop) -> Iterator[Visitor]:
    yield from visit(chromium, shop, "en")


@pytest.fixture(params=["en", "zh-TW"])
def either(request: pytest.FixtureRequest, chromium: Any, shop: Workshop) -> Iterator[Visitor]:
    """In both languages."""
    yield from visit(chromium, shop, request.param)
