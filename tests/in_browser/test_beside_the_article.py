"""What stands beside the article's path: the queue, kept settings and lists, history, the recipe page."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from in_browser.conftest import PATIENCE, Visitor
from workshop.kit import QUICK, Workshop

pytestmark = pytest.mark.browser
BASE, LORA = "checkpoints/baseA.safetensors", "loras/hina.safetensors"
DROP = """([selector, name, data]) => {
    const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0)), given = new DataTransfer();
    given.items.add(new File([bytes], name, { type: "image/png" }));
    const how = { dataTransfer: given, bubbles: true, cancelable: true };
    const place = document.querySelector(selector);
    for (const kind of ["dragover", "drop"]) place.dispatchEvent(new DragEvent(kind, how));
}"""


@pytest.fixture
def paused(shop: Workshop) -> Iterator[Workshop]:
    """A queue that waits, and goes on afterwards."""
    shop.ask("POST", "/api/queue/pause")
    yield shop
    shop.ask("POST", "/api/queue/resume")


def titles(visitor: Visitor) -> list[str]:
    return [str(one) for one in visitor.page.locator("#queue-panel .entry .title").all_text_contents()]


def test_the_queue_is_paused_reordered_and_goes_on(visitor: Visitor) -> None:
    shop, page = visitor.shop, visitor.page
    visitor.open("history")
    page.locator("#queue").click()
    panel = page.locator("#queue-panel")
    panel.get_by_role("button", name=visitor.t("shell.pause"), exact=True).click()
    panel.get_by_role("button", name=visitor.t("shell.resume"), exact=True).wait_for()
    names = ["first", "second", "third"]
    jobs = []
    for name in names:
        options = {"rank": 1 + len(jobs)}
        asked = {"command": "compare", "words": [BASE, BASE], "options": options, "title": name}
        jobs.append(shop.ask("POST", "/api/jobs", asked).json["id"])
    panel.locator(".entry", has_text="third").wait_for()
    assert titles(visitor)[:3] == names
    entry = panel.locator(".entry", has_text="third")
    entry.get_by_role("button", name=visitor.t("shell.sooner"), exact=True).click()
    visitor.until(lambda: titles(visitor)[1] == "third")
    entry.get_by_role("button", name=visitor.t("shell.sooner"), exact=True).click()
    visitor.until(lambda: titles(visitor)[0] == "third")
    panel.locator(".entry", has_text="first").get_by_role(
        "button", name=visitor.t("shell.later"), exact=True
    ).click()
    visitor.until(lambda: titles(visitor)[1] == "second")
    panel.locator(".entry", has_text="second").get_by_role(
        "button", name=visitor.t("shell.cancel"), exact=True
    ).click()
    panel.get_by_role("button", name=visitor.t("shell.resume"), exact=True).click()
    ended = {name: shop.wait(number) for name, number in zip(names, jobs, strict=True)}
    assert [ended[name]["state"] for name in names] == ["done", "cancelled", "done"]
    assert ended["third"]["started"] < ended["first"]["started"]
    gone = panel.locator(".entry", has_text="third")
    gone.get_by_role("button", name=visitor.t("shell.delete_job"), exact=True).click()
    visitor.page.locator("dialog").get_by_role("button", name=visitor.t("shell.delete"), exact=True).click()
    gone.wait_for(state="detached")
    page.keyboard.press("Escape")
    assert visitor.complaints == []


def test_two_tabs_cannot_make_the_same_file(visitor: Visitor, paused: Workshop) -> None:
    visitor.open("merge")
    visitor.input("after").uncheck()
    visitor.input("output").fill("twice")
    other = visitor.page.context.new_page()
    other.goto(f"{paused.address}#merge")
    tab = Visitor(other, paused, visitor.language)
    tab.input("output").wait_for()
    assert tab.input("output").input_value() == "twice"
    visitor.click("merge.run")
    visitor.ends("waiting")
    tab.click("merge.run")
    told = other.locator('main [data-field="output"] [role="alert"]')
    told.wait_for()
    assert "another job" in told.inner_text()
    other.close()
    visitor.page.locator("main article.job").get_by_role(
        "button", name=visitor.t("shell.cancel"), exact=True
    ).click()
    visitor.ends("cancelled")
    assert not (paused.out / "twice.safetensors").exists()


def test_settings_are_kept_by_name(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("test")
    visitor.input("steps").fill("7")
    visitor.button("shell.save_profile").click()
    page.locator("dialog input").fill("portrait")
    page.locator("dialog").get_by_role("button", name=visitor.t("shell.save"), exact=True).click()
    chooser = page.get_by_role("combobox", name=visitor.t("shell.profile"), exact=True)
    chooser.locator("option", has_text="portrait").wait_for(state="attached")
    visitor.input("steps").fill("3")
    chooser.select_option("portrait")
    visitor.until(lambda: visitor.input("steps").input_value() == "7")
    page.reload()
    chooser.locator("option", has_text="portrait").wait_for(state="attached")
    chooser.select_option("portrait")
    visitor.button("shell.delete_profile").click()
    page.locator("dialog").get_by_role("button", name=visitor.t("shell.delete"), exact=True).click()
    chooser.locator("option", has_text="portrait").wait_for(state="detached")
    assert visitor.complaints == []


def test_settings_come_from_a_picture_that_is_dropped(visitor: Visitor) -> None:
    shop = visitor.shop
    options: dict[str, Any] = {**QUICK, "steps": 2, "seed": 77, "prompt": "hina, in a picture"}
    number = shop.add("render", [BASE, LORA], **options, output="dropped")["id"]
    assert shop.wait(number)["state"] == "done"
    picture = base64.b64encode((shop.out / "dropped.png").read_bytes()).decode()
    visitor.open("test")
    visitor.page.locator(".profiles").wait_for()
    visitor.page.evaluate(DROP, [".profiles", "dropped.png", picture])
    visitor.until(lambda: visitor.input("seed").input_value() == "77")
    assert visitor.input("prompt").input_value().startswith("hina, in a picture")
    assert visitor.input("steps").input_value() == "2"
    visitor.open("library")
    visitor.page.evaluate(DROP, [".page-library", "dropped.png", picture])
    visitor.button("library.take").click()
    visitor.turns_to("test")
    assert visitor.input("seed").input_value() == "77"
    assert visitor.complaints == []


def test_block_lists_are_kept_by_name(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("blocks")
    weights = page.get_by_role("spinbutton", name=visitor.t("blocks.weight_of"))
    visitor.until(lambda: weights.count() == 12)  # those that the LoRA has, as soon as its energies are known
    follow = page.get_by_label(visitor.t("blocks.follow"))
    follow.uncheck()
    weights.nth(2).fill("0.25")
    written = visitor.input("list").input_value()
    assert "0.25" in written
    visitor.button("blocks.save_preset").click()
    page.locator("dialog input").fill("MINE")
    page.locator("dialog").get_by_role("button", name=visitor.t("shell.save"), exact=True).click()
    chooser = page.get_by_role("combobox", name=visitor.t("blocks.preset"), exact=True)
    chooser.locator("option", has_text="MINE").wait_for(state="attached")
    assert f"MINE:{written}" in (visitor.shop.out / "lbwpresets.txt").read_text()
    visitor.button("blocks.all_zero").click()
    assert visitor.input("list").input_value() != written
    chooser.select_option("MINE")
    visitor.until(lambda: visitor.input("list").input_value() == written)
    visitor.button("blocks.delete_preset").click()
    page.locator("dialog").get_by_role("button", name=visitor.t("shell.delete"), exact=True).click()
    chooser.locator("option", has_text="MINE").wait_for(state="detached")
    assert visitor.complaints == []


def test_the_history_compares_two_and_deletes_after_a_question(visitor: Visitor) -> None:
    shop, page = visitor.shop, visitor.page
    for rank, name in ((1, "one"), (2, "two")):
        number = shop.add("extract", ["checkpoints/baseB.safetensors", BASE], rank=rank, output=name)["id"]
        assert shop.wait(number)["state"] == "done"
    visitor.open("history")
    for name in ("one", "two"):
        page.locator(".node", has=page.get_by_text(name, exact=True)).get_by_role("checkbox").check()
    page.locator("main .shelf-head button").click()
    window = page.locator("dialog")
    window.locator(".notes li, .facts").first.wait_for(timeout=PATIENCE)
    assert "one – two" in window.inner_text()
    page.keyboard.press("Escape")
    remove = page.get_by_role("button", name=f"{visitor.t('history.delete')}: one", exact=True)
    remove.click()
    window.get_by_role("button", name=visitor.t("shell.no"), exact=True).click()
    assert (shop.out / "one.safetensors").is_file()
    remove.click()
    window.get_by_role("button", name=visitor.t("history.delete"), exact=True).click()
    remove.wait_for(state="detached")
    assert not (shop.out / "one.safetensors").exists()
    assert (shop.out / "two.safetensors").is_file()
    page.get_by_role("button", name=f"{visitor.t('history.verify')}: two", exact=True).click()
    window.get_by_text("the file is what its record says").wait_for(timeout=PATIENCE)
    assert visitor.complaints == []


LATE = """
    const ask = window.fetch;
    window.fetch = async (path, options) => {
        const answer = await ask(path, options);
        if (options.method !== "PUT" || window.puts) return answer;
        window.puts = 1;
        await new Promise((resolve) => { setTimeout(resolve, 3000); });
        window.puts = 2;
        return answer;
    };
"""
"""The first PUT is answered after others that came later."""


def test_a_recipe_of_another_name_is_kept_while_the_first_is_under_way(visitor: Visitor) -> None:
    page = visitor.page
    page.add_init_script(LATE)
    visitor.open("recipe")
    visitor.until(lambda: bool(page.evaluate("window.puts")))  # by itself, under the first name
    visitor.input("name").fill("second")
    visitor.button("shell.save").first.click()
    visitor.until(lambda: page.evaluate("window.puts") == 2)
    page.locator("main .note", has_text="second.toml").first.wait_for()
    page.wait_for_timeout(1000)
    page.locator("main .plan", has_text="hina_B.safetensors").wait_for()
    assert visitor.complaints == []


def test_a_recipe_is_run_and_swept(either: Visitor) -> None:
    page = either.page
    either.open("test")
    either.input("steps").fill("1")
    either.goes_to("recipe")
    text = either.input("recipe")
    text.wait_for()
    name = f"hina_{either.language}"
    text.fill(text.input_value().replace("hina_B", name))
    either.page.get_by_text(either.t("recipe.sound")).wait_for()
    either.input("name").fill(name)
    either.button("shell.save").first.click()
    either.input("variables.rank").fill("4")
    page.locator("main .plan", has_text=f"{name}.safetensors").wait_for()
    either.click("recipe.run")
    either.ends()
    assert (either.shop.out / f"{name}.safetensors").is_file()
    either.input("axis").select_option("M")
    either.input("x").fill("0, 0.7")
    either.input("seeds").fill("1")
    either.click("recipe.look")
    either.sees_pictures(2)
    assert either.complaints == []
