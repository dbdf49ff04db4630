"""The workshop on the demo family, and a visitor with a real browser."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
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

PATIENCE = 180_000
"""Milliseconds that a job may take: a machine may have other work."""


HOLD = """
    const ask = window.fetch, pause = (time) => new Promise((resolve) => { setTimeout(resolve, time); });
    window.fetch = async (path, options) => {
        const answer = await ask(path, options);
        const wanted = options.method === METHOD && /api\\/jobs(\\/[^/?]+)?$/.test(path);
        if (window.held || !wanted || !answer.ok) return answer;
        const job = await answer.clone().json();
        window.held = job.state;
        const state = async () => (await (await ask("/api/jobs/" + job.id)).json()).state;
        while (["waiting", "running"].includes(await state())) await pause(100);
        await pause(500);
        return answer;
    };
"""
"""The first answer about a job comes after the event of its end."""


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

    def hears_the_end_first(self, method: str) -> None:
        """Before the answer to POST, which begins a job, or to GET, which asks for it; on the next page."""
        self.page.add_init_script(HOLD.replace("METHOD", f'"{method}"'))

    def button(self, key: str) -> Any:
        return self.page.get_by_role("button", name=self.t(key), exact=True)

    def input(self, option: str) -> Any:
        """The input of an option."""
        return self.page.locator(f'main [data-field="{option}"]').locator("input, textarea, select").first

    def click(self, key: str) -> None:
        """The last button of this name: of pages with two, that of the plan."""
        self.button(key).last.click()

    def ends(self, state: str = "done") -> None:
        """Wait for the job's card."""
        self.page.locator(f'main article.job[data-state="{state}"]').first.wait_for(timeout=PATIENCE)

    def turns_to(self, name: str) -> None:
        """Wait for the page that a button leads to."""
        self.page.locator(f"main .page-{name} h1", has_text=self.t(f"{name}.title")).wait_for()
        self.page.locator("main .runner").first.wait_for()

    def goes_to(self, name: str) -> None:
        """By the links on top."""
        self.page.locator(f'nav a[data-page="{name}"]').click()
        self.page.locator(f"main .page-{name} h1").wait_for()

    def chooses(self, option: str, name: str) -> None:
        """A file, in the window behind the option's button."""
        self.page.locator(f'main [data-field="{option}"] button.picker').first.click()
        self.page.locator(f'dialog button.file[title="{name}"]').click()

    def switches(self, group: str, *values: str) -> None:
        """The chips of a group: these and no others."""
        chips = self.page.get_by_role("group", name=self.t(group), exact=True).get_by_role("button")
        chips.first.wait_for()
        for i in range(chips.count()):
            chip = chips.nth(i)
            if (chip.get_attribute("aria-pressed") == "true") != (chip.text_content() in values):
                chip.click()

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what cannot be asked of an element."""
        for _ in range(200):
            if holds():
                return
            self.page.wait_for_timeout(100)
        assert holds()

    def sees_pictures(self, count: int, place: str = ".live-grid") -> None:
        """All cells of a grid."""
        pictures = self.page.locator(f"main {place} .stage td img")
        pictures.nth(count - 1).wait_for(timeout=PATIENCE)
        assert pictures.count() == count

    def folded(self, key: str) -> str:
        """What the plan holds behind one of its folds, to copy."""
        fold = self.page.locator("main .plan details", has=self.page.locator("summary", has_text=self.t(key)))
        fold.locator("summary").click()
        return str(fold.locator("pre").inner_text())


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
