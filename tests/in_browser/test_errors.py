"""A fault that somebody makes on each page: told beside its field, in words, in the language."""

from __future__ import annotations

import re

import pytest

from in_browser.conftest import PATIENCE, Visitor

pytestmark = pytest.mark.browser

FAULTS = (
    ("test", "x-values", "0, cat"),
    ("test", "steps", "0"),
    ("test", "lbw", "1,2,3"),
    ("blocks", "range", "0.5"),
    ("blocks", "blocks", "NOPE"),
    ("blocks", "list", "1,2"),
    ("merge", "output", "a/b:c"),
    ("merge", "discard", "("),
    ("extract", "rank", "0"),
    ("carry", "output", "../out"),
    ("difference", "output", "NUL"),
    ("proof", "x", "1..cat"),
)
"""Page, field, and what is written there."""
SHOWN_AT = {"lbw": "adapters"}
CHINESE = re.compile("[\u4e00-\u9fff]")


def test_a_fault_on_each_page_is_told_beside_its_field(either: Visitor) -> None:
    _choose_files(either)
    page = ""
    each_once = {name: (name, field, fault) for name, field, fault in FAULTS}.values()
    for name, field, fault in FAULTS if either.language == "en" else each_once:
        if name != page:
            either.open(name)
            either.page.locator("main .waiting").wait_for(state="detached")
            page = name
        either.page.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")
        box = either.input(field)
        box.wait_for()
        before = box.input_value()
        box.fill(fault)
        told = either.page.locator(f'main [data-field="{SHOWN_AT.get(field, field)}"] .refusal')
        told.wait_for()
        text = told.inner_text()
        assert bool(CHINESE.search(text)) == (either.language == "zh-TW"), (field, text)
        box.fill(before)
        told.wait_for(state="detached")
    assert either.complaints == []


def _choose_files(visitor: Visitor) -> None:
    """What the pages that go on from others need."""
    visitor.open("carry")
    visitor.chooses("checkpoint", "checkpoints/baseB.safetensors")
    visitor.chooses("adapters", "loras/hina.safetensors")
    visitor.open("extract")
    visitor.chooses("tuned", "checkpoints/baseB.safetensors")
    visitor.open("difference")
    visitor.chooses("primary", "checkpoints/baseB.safetensors")


def test_a_fault_that_only_the_job_finds(either: Visitor) -> None:
    _choose_files(either)
    either.input("x").fill("-0.7, cat")
    either.click("difference.look")
    told = either.page.locator('main [data-field="x"] .refusal')
    told.wait_for(timeout=PATIENCE)
    assert "cat" in told.inner_text()
    either.input("x").fill("-0.7, 0")
    told.wait_for(state="detached")


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_fault_that_a_quick_job_finds_is_told_beside_its_field(visitor: Visitor, method: str) -> None:
    visitor.hears_the_end_first(method)
    test_a_fault_that_only_the_job_finds(visitor)
    said = visitor.page.locator("#said").inner_text()
    assert said.startswith(visitor.t("shell.said_failed")), said


HELD_PLANS = """
    const ask = window.fetch;
    const freed = new Promise((resolve) => { window.freePlans = resolve; });
    Object.assign(window, { heldPlans: 0, holding: true });
    window.fetch = async (path, options) => {
        const held = window.holding && path === "/api/plan";
        const answer = await ask(path, options);
        if (held) { window.heldPlans += 1; await freed; }
        return answer;
    };
"""
"""Answers about what is about to happen wait, those that are asked for while `holding`."""


def test_a_fault_that_the_job_finds_stays_when_the_plan_comes_later(visitor: Visitor) -> None:
    page = visitor.page
    page.add_init_script(HELD_PLANS)
    _choose_files(visitor)
    visitor.until(lambda: bool(page.evaluate("window.heldPlans")))
    page.evaluate("window.holding = false")
    visitor.input("x").fill("-0.7, cat")
    visitor.click("difference.look")
    told = page.locator('main [data-field="x"] .refusal')
    told.wait_for(timeout=PATIENCE)
    page.evaluate("window.freePlans()")
    page.locator("main .plan details").first.wait_for()
    assert told.is_visible()
    visitor.input("x").fill("-0.7, 0")
    told.wait_for(state="detached")


def test_a_mistake_in_a_recipe_is_told_with_its_place(either: Visitor) -> None:
    either.open("recipe")
    text = either.input("recipe")
    right = text.input_value()
    text.fill(right.replace("extract(A1 - A", "extrakt(A1 - A"))
    told = either.page.locator("main .mistakes .refusal")
    told.wait_for()
    assert "extract" in told.inner_text()
    line = next(i for i, one in enumerate(text.input_value().splitlines(), 1) if "extrakt" in one)
    assert str(line) in told.locator("button").inner_text()
    told.locator("button").click()
    chosen = text.evaluate("box => box.value.slice(box.selectionStart).split('(')[0]")
    assert chosen == "extrakt"
    text.fill(right)
    told.wait_for(state="detached")


def test_a_file_that_is_nothing_is_told_so(either: Visitor) -> None:
    either.open("library")
    either.page.locator('main input[type="file"]').set_input_files(
        files=[{"name": "notes.safetensors", "mimeType": "text/plain", "buffer": b"my notes"}]
    )
    told = either.page.locator("dialog .refusal")
    told.wait_for()
    assert bool(CHINESE.search(told.inner_text())) == (either.language == "zh-TW")
    assert "notes.safetensors" in told.inner_text()
    either.page.keyboard.press("Escape")


def test_a_file_that_is_not_ours_cannot_be_verified(either: Visitor) -> None:
    made = either.shop.add(
        "extract", ["checkpoints/baseB.safetensors", "checkpoints/baseA.safetensors"], rank=1
    )
    assert either.shop.wait(made["id"])["state"] == "done"
    path = next(either.shop.out.glob("baseB+baseA-extract.safetensors"))
    try:
        either.open("history")
        verify = either.page.get_by_role("button", name=re.compile(either.t("history.verify") + ".*extract"))
        verify.first.wait_for()
        path.write_bytes((either.shop.models / "hina.safetensors").read_bytes())
        verify.first.click()
        told = either.page.locator("dialog .refusal")
        told.wait_for(timeout=PATIENCE)
        assert bool(CHINESE.search(told.inner_text())) == (either.language == "zh-TW")
    finally:
        path.unlink()
