"""The page of likeness: a card from pictures made here, a small search, and the merge of what it found."""

from __future__ import annotations

import re
from typing import Any

import pytest

from in_browser.conftest import PATIENCE, Visitor, visit
from loralathe import card_facts
from workshop.kit import Workshop

pytestmark = pytest.mark.browser

BASE, LORA = "checkpoints/baseA.safetensors", "loras/hina.safetensors"
QUICK = {"prompt": "hina, smiling, navy shirt, forest", "steps": 4, "cfg": 4, "size": "128x128"}
LIKENESS = {"goals": ["likeness"], "budget": "8 pictures", "tune": {"check_seeds": 2, "most_seeds": 4}}


def made(shop: Workshop) -> None:
    """Three pictures of the person, to make a card of."""
    number = shop.add("grid", [BASE, f"{LORA}:1"], **QUICK, seed=1, x="seed = 1-3", output="person")["id"]
    assert shop.wait(number)["state"] == "done"


def starts(visitor: Visitor) -> None:
    """What somebody chose before: quick pictures, a search of few."""
    visitor.page.goto(visitor.shop.address)
    visitor.page.evaluate(
        """([likeness, settings]) => {
          localStorage.setItem("lathe.workshop.likeness", JSON.stringify(likeness));
          const state = JSON.parse(localStorage.getItem("lathe.workshop"));
          localStorage.setItem("lathe.workshop", JSON.stringify({ ...state, settings }));
        }""",
        [LIKENESS, QUICK | {"seed": 5}],
    )


def test_a_card_a_search_and_a_merge_by_clicks(visitor: Visitor) -> None:
    page, shop = visitor.page, visitor.shop
    made(shop)
    starts(visitor)
    visitor.open("likeness")
    visitor.click("likeness.card_run")
    told = page.locator('main [data-field="photo"] [role="alert"]')
    told.wait_for()
    assert "nothing is chosen" in told.inner_text()

    visitor.button("pictures.made").first.click()
    photos = page.locator("dialog button.photo")
    photos.nth(2).wait_for()
    for place in range(3):
        photos.nth(place).click()
    page.locator("dialog").get_by_role("button", name=visitor.t("shell.take_chosen"), exact=True).click()
    assert visitor.input("trigger").input_value() == "hina"
    visitor.input("output").fill("hina")
    visitor.click("likeness.card_run")
    visitor.ends()
    facts = card_facts(shop.out / "hina.card")
    assert (facts.trigger, len(facts.references)) == ("hina", 3)

    visitor.button("likeness.to_tune").click()
    ticks = page.locator("main .sweep")
    ticks.nth(4).wait_for()
    for tick in ticks.filter(has_text=visitor.t("sweeps.blocks") + " ").get_by_role("checkbox").all():
        tick.uncheck()
    page.locator("main .plan", has_text="8 pictures").wait_for()
    visitor.click("likeness.tune_run")
    visitor.ends()
    page.locator("main .reasons").first.wait_for(timeout=PATIENCE)
    assert page.locator("main svg.plot:not(.key) circle").count() >= 2
    assert page.locator("main .candidates tbody tr").count() >= 2

    visitor.input("found-name").fill("found")
    visitor.button("likeness.merge").click()
    page.get_by_text("found is ready.").wait_for(timeout=PATIENCE)
    assert (shop.out / "found.safetensors").is_file()
    visitor.button("likeness.to_proof").click()
    page.locator("main .page-proof h1").wait_for()
    assert page.locator('main [data-field="checkpoint"] .picker').first.inner_text().startswith("found")
    assert page.locator('main [data-field="card"] .picker').inner_text().startswith("hina.card")
    visitor.input("x").fill("1, 2")
    visitor.click("proof.run")
    page.get_by_text("of 2 pictures").wait_for(timeout=PATIENCE)
    assert visitor.complaints == []


def test_its_parts_speak_chinese(chromium: Any, shop: Workshop) -> None:
    """Headings, labels and buttons of every part, what is folded included."""
    chinese = re.compile("[\u4e00-\u9fff]")
    for visitor in visit(chromium, shop, "zh-TW"):
        visitor.open("likeness")
        for kind in ("card", "tune", "soup", "cure", "everywhere"):
            visitor.switches("likeness.kind", visitor.t(f"likeness.kind_{kind}"))
            visitor.page.get_by_text(visitor.t(f"likeness.lead_{kind}")).wait_for()
            visitor.page.locator("main .runner").first.wait_for()
            texts = visitor.page.locator("main :is(h1, h2, label, summary)").all_text_contents()
            assert len(texts) > 5
            names = ("LoRA", "LoRAs", "VAE", "U-Net（unet）")
            assert [one for one in texts if not chinese.search(one) and one not in names] == []
        assert visitor.complaints == []
