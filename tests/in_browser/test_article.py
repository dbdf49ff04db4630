"""The article by clicks alone: test, blocks, merge, extract, carry over, add difference, proof.

In English with every look at pictures between the steps, in Chinese the steps alone. What the pages make is
made by the command line, too, byte for byte, from the recipes that stand beside their buttons.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from in_browser.conftest import PATIENCE, Visitor
from loralathe.cli import lathe

pytestmark = pytest.mark.browser


def test_the_whole_article(either: Visitor, tmp_path: Path) -> None:
    whole = either.language == "en"
    article = Article(either, tmp_path)
    article.test()
    article.blocks(analyze=whole)
    article.merge("hinaA", pictures=whole)
    article.extract(ranks=("4", "8") if whole else ())
    article.carry("hinaB", look=whole)
    article.difference("hinaB-to-A", look=whole)
    article.extract_again("hina-again")
    article.proof()
    article.recipes_make_the_same_files()
    assert either.complaints == []


class Article:
    def __init__(self, visitor: Visitor, folder: Path) -> None:
        self.visitor, self.folder = visitor, folder
        self.recipes: dict[str, str] = {}

    def test(self) -> None:
        visitor = self.visitor
        visitor.open("test")
        visitor.input("steps").fill("1")
        visitor.click("test.run")
        visitor.sees_pictures(6)
        visitor.page.locator("main .stage td img").nth(4).click()
        visitor.click("live.use")
        visitor.click("test.to_blocks")

    def blocks(self, *, analyze: bool) -> None:
        visitor = self.visitor
        visitor.turns_to("blocks")
        if analyze:
            visitor.input("blocks").fill("IN04,MID,OUT05")
            visitor.click("blocks.run")
            visitor.ends()
            visitor.click("live.advice")
            visitor.click("blocks.to_merge")
        else:
            visitor.page.get_by_role("spinbutton", name=visitor.t("blocks.weight_of")).nth(3).fill("0.5")
            visitor.page.wait_for_timeout(500)
            visitor.goes_to("merge")

    def merge(self, name: str, *, pictures: bool) -> None:
        visitor = self.visitor
        visitor.turns_to("merge")
        if not pictures:
            visitor.input("after").uncheck()
        self._make("merge", name)
        if pictures:
            visitor.sees_pictures(4)
        visitor.click("merge.to_extract")

    def extract(self, ranks: tuple[str, ...]) -> None:
        visitor = self.visitor
        visitor.turns_to("extract")
        if ranks:
            visitor.switches("extract.ranks", *ranks)
            visitor.click("extract.compare_ranks")
            visitor.sees_pictures(2 * len(ranks), ".pictures:last-child")
            name = visitor.t("extract.take_rank") + " " + ranks[-1]
            visitor.page.get_by_role("button", name=name, exact=True).click()
        else:
            visitor.input("rank").fill("8")
            self._make("extract", "hina-8")
        visitor.click("extract.to_carry")

    def carry(self, name: str, *, look: bool) -> None:
        visitor = self.visitor
        visitor.turns_to("carry")
        visitor.chooses("checkpoint", "checkpoints/baseB.safetensors")
        if look:
            visitor.switches("carry.strengths", "0", "0.8")
            visitor.click("carry.test_run")
            visitor.sees_pictures(4)
            visitor.page.locator("main .stage td img").nth(1).click()
            visitor.click("live.use")
        self._make("carry", name)
        visitor.click("carry.to_difference")

    def difference(self, name: str, *, look: bool) -> None:
        visitor = self.visitor
        visitor.turns_to("difference")
        visitor.input("x").fill("-0.7, 0, 0.7")
        if look:
            visitor.click("difference.look")
            visitor.sees_pictures(6)
        visitor.page.get_by_role("button", name="M = 0.7", exact=True).click()
        visitor.page.get_by_role("button", name="M = -0.7", exact=True).click()
        self._make("difference", name)
        visitor.click("difference.to_extract")

    def extract_again(self, name: str) -> None:
        visitor = self.visitor
        visitor.turns_to("extract")
        visitor.input("rank").fill("8")
        self._make("extract", name)
        visitor.page.get_by_role("heading", name=visitor.t("extract.chart")).wait_for()

    def proof(self) -> None:
        visitor = self.visitor
        visitor.goes_to("proof")
        visitor.input("prompt").fill("hina, smiling\nhina, forest")
        visitor.input("x").fill("1-2")
        visitor.click("proof.run")
        visitor.sees_pictures(4)

    def _make(self, page: str, name: str) -> None:
        """Give the name, keep the recipe that is shown, press the button."""
        visitor, name = self.visitor, f"{name}-{self.visitor.language}"
        visitor.input("output").fill(name)
        visitor.page.locator("main .plan", has_text=f"{name}.safetensors").wait_for()
        self.recipes[name] = visitor.folded("shell.recipe")
        visitor.click(f"{page}.run")
        visitor.page.locator('main article.job[data-state="done"] .outputs', has_text=name).wait_for(
            timeout=PATIENCE
        )

    def recipes_make_the_same_files(self) -> None:
        for name, recipe in self.recipes.items():
            made, again = self.visitor.shop.out / f"{name}.safetensors", self.folder / f"{name}.safetensors"
            path = self.folder / f"{name}.toml"
            path.write_text(recipe, encoding="utf-8")
            ran = CliRunner().invoke(lathe, ["run", str(path), "-o", str(again)])
            assert ran.exit_code == 0, ran.output
            assert again.read_bytes() == made.read_bytes(), name
