"""The workshop as people use it: by clicks, by keys, in both languages, with bad luck."""

from __future__ import annotations

import pytest

from in_browser.conftest import Visitor

pytestmark = pytest.mark.browser
PAGES = ("test", "blocks", "merge", "extract", "carry", "difference", "proof", "recipe", "history", "library")

FOCUSED = """() => {
    const one = document.activeElement, of = one.closest("[data-field]")?.dataset.field;
    const labels = [...(one.labels ?? [])].map((label) => label.textContent).join(" ");
    const text = one.getAttribute("aria-label") || labels || one.textContent;
    return { of, text, tag: one.outerHTML.slice(0, 200), run: one.matches(".go button.main") };
}"""
"""What has the focus: its option, what a screen reader calls it, whether it is the button that runs."""


def small(visitor: Visitor) -> None:
    visitor.input("steps").fill("1")


OPEN_ALL = "for (const one of document.querySelectorAll('main details')) one.open = true"


def long(visitor: Visitor) -> None:
    """One picture after the other, so that there is a middle."""
    visitor.input("steps").fill("60")
    visitor.page.evaluate(OPEN_ALL)
    visitor.input("batch").fill("1")


def test_a_grid_is_made_by_clicks(either: Visitor) -> None:
    either.open("test")
    small(either)
    either.button("test.run").click()
    either.ends()
    pictures = either.page.locator("main .stage td img")
    pictures.nth(5).wait_for()
    assert pictures.count() == 6
    pictures.nth(2).click()
    either.button("live.use").click()
    either.page.get_by_text(either.t("test.taken")).first.wait_for()
    strength = either.page.get_by_role("spinbutton", name=either.t("shell.strength_of"))
    assert strength.first.input_value() == "0.5"
    either.button("test.to_merge").click()
    either.page.locator("main h1", has_text=either.t("merge.title")).wait_for()
    assert (
        either.page.get_by_role("spinbutton", name=either.t("shell.strength_of")).first.input_value() == "0.5"
    )
    assert either.complaints == []


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_job_that_ends_while_it_is_asked_for_is_shown_as_done(visitor: Visitor, method: str) -> None:
    visitor.hears_the_end_first(method)
    visitor.open("test")
    small(visitor)
    visitor.input("seed").fill("31")
    visitor.button("test.run").click()
    visitor.until(lambda: bool(visitor.page.evaluate("window.held")))
    visitor.until(lambda: visitor.shop.get("jobs?limit=1")["jobs"][0]["state"] == "done")
    visitor.ends()
    visitor.page.wait_for_timeout(1500)
    visitor.ends()
    assert visitor.complaints == []


def test_a_file_is_replaced_only_after_a_question(visitor: Visitor) -> None:
    path = visitor.shop.out / "there.safetensors"
    path.write_bytes((visitor.shop.models / "baseA.safetensors").read_bytes())
    before = path.read_bytes()
    visitor.open("merge")
    visitor.input("after").uncheck()
    visitor.input("output").fill("there")
    visitor.page.get_by_text(visitor.t("shell.exists")).first.wait_for()
    visitor.button("merge.run").last.click()
    visitor.page.locator("dialog").get_by_role("button", name=visitor.t("shell.no"), exact=True).click()
    assert path.read_bytes() == before
    visitor.button("merge.run").last.click()
    visitor.button("making.replace_yes").click()
    visitor.ends()
    assert path.read_bytes() != before


def test_a_reload_finds_the_job_which_can_be_cancelled(visitor: Visitor) -> None:
    visitor.open("test")
    long(visitor)
    visitor.button("test.run").click()
    visitor.page.locator("main .stage td img").first.wait_for(timeout=60_000)
    visitor.page.reload()
    visitor.ends("running")
    visitor.page.locator("main .stage td img").first.wait_for()
    visitor.page.locator("main article.job").get_by_role("button", name=visitor.t("shell.cancel")).click()
    visitor.ends("cancelled")
    assert visitor.complaints == []


def test_after_a_kill_of_the_server_the_job_goes_on(visitor: Visitor) -> None:
    visitor.open("test")
    long(visitor)
    visitor.input("seed").fill("7")
    visitor.button("test.run").click()
    visitor.page.locator("main .stage td img").first.wait_for(timeout=60_000)
    port = int(visitor.shop.host.rpartition(":")[2])
    visitor.shop.kill()
    visitor.page.get_by_text(visitor.t("shell.lost")).wait_for()
    visitor.shop.start(port)
    visitor.ends("interrupted")
    visitor.page.locator("main article.job").get_by_role("button", name=visitor.t("shell.again")).click()
    visitor.ends("done")
    again = visitor.shop.get("jobs?limit=1")["jobs"][0]
    assert again["state"] == "done"
    assert len(visitor.shop.get(f"jobs/{again['id']}")["cells"]) == 6


def test_an_error_shows_beside_its_field(either: Visitor) -> None:
    either.open("test")
    either.input("prompt").fill("x" * 20_001)
    either.button("test.run").click()
    told = either.page.locator('main [data-field="prompt"] [role="alert"]')
    told.wait_for()
    assert either.input("prompt").get_attribute("aria-invalid") == "true"
    either.input("prompt").fill("hina")
    told.wait_for(state="detached")


def test_the_first_page_by_keys_alone(visitor: Visitor) -> None:
    visitor.open("test")
    page, seen = visitor.page, []
    for _ in range(120):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        seen.append(focused)
        assert (focused["text"] or "").strip(), focused
        if focused["of"] == "steps":
            page.keyboard.press("Control+a")
            page.keyboard.type("3")
        if focused["run"]:
            page.keyboard.press("Enter")
            break
    else:
        raise AssertionError([one["text"] for one in seen])
    assert {"prompt", "steps", "cfg", "seed"} <= {one["of"] for one in seen}
    visitor.ends()
    visitor.page.locator("main .stage td img").nth(5).wait_for()


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_opens_without_a_complaint_and_fits(either: Visitor, width: int) -> None:
    either.page.set_viewport_size({"width": width, "height": 900})
    for name in PAGES:
        either.page.goto(f"{either.shop.address}#{name}")
        either.page.locator("main h1").wait_for()
        either.page.wait_for_timeout(250)
        assert either.page.locator("main .refusal").count() == 0, name
        assert either.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
    assert either.complaints == []


def test_markup_in_names_is_shown_as_text(visitor: Visitor) -> None:
    name = "<img src=x onerror=document.title='taken'>"
    path = visitor.shop.out / f"{name}.safetensors"
    path.write_bytes((visitor.shop.models / "hina.safetensors").read_bytes())
    try:
        visitor.shop.add("compare", ["checkpoints/baseA.safetensors"] * 2)
        for page in ("library", "history"):
            visitor.open(page)
            visitor.page.wait_for_timeout(500)
            assert visitor.page.locator('img[src="x"]').count() == 0
            assert visitor.page.title() != "taken"
        assert visitor.page.evaluate("document.querySelectorAll('script:not([src]):not([type])').length") == 0
    finally:
        path.unlink()
