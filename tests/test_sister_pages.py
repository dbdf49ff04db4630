"""Every page for people has a sister in Chinese with the same commands, tables, numbers and links."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from printed import commands_in

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
FOR_PROGRAMMERS = {"api"}
"""In English only."""
NAMES = sorted({page.name.partition(".")[0] for page in DOCS.glob("*.md")} - FOR_PROGRAMMERS)
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"(?<![A-Za-z_\d.])\d[\d,]*(?:\.\d+)?(?=(?:st|nd|rd|th)?(?![A-Za-z_\d]))")
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]+)?\)")
WORD = re.compile(r"[\u4e00-\u9fff]+|(?<![A-Z])[A-Z]{3,}(?![A-Z])")
"""`--reuse FOLDER`, `--reuse 資料夾`."""


SPELLED = (
    "one|一", "two|二|兩", "three|三", "four|四", "five|五",
    "six|六", "seven|七", "eight|八", "nine|九", "ten|十",
)  # fmt: skip


def page(name: str, ending: str = ".md") -> str:
    return (DOCS / f"{name}{ending}").read_text(encoding="utf-8")


def both(name: str) -> tuple[str, str]:
    return page(name), page(name, ".zh-TW.md")


def sections(text: str) -> list[str]:
    """What stands between the headings, without blocks of code and the targets of links."""
    return re.split(r"^#+ .*$", LINK.sub("]", FENCED.sub("", text)), flags=re.MULTILINE)


def numbers(text: str) -> list[str]:
    """In their order, without code."""
    return [found.replace(",", "") for found in NUMBER.findall(CODE.sub("`", text))]


def spelled(text: str) -> set[str]:
    """Numbers that are written as words."""
    return {str(number) for number, words in enumerate(SPELLED, 1) if re.search(words, text)}


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def commands_and_comments(text: str) -> list[list[str]]:
    """Blocks of code: commands without what they print, and everything else without comments."""
    found = [block.splitlines() for block in FENCED.findall(text)]
    return [
        [
            re.sub(r"\s+#.*", "", line)
            for line in block
            if line.startswith("$ ") or not any(one.startswith("$ ") for one in block)
        ]
        for block in found
    ]


@pytest.mark.parametrize("name", NAMES)
def test_each_leads_to_the_other_and_the_readme_to_the_chinese_one(name: str) -> None:
    assert (DOCS / f"{name}.md").exists()
    assert (DOCS / f"{name}.zh-TW.md").exists(), "a page in Chinese"
    english, chinese = both(name)
    assert f"]({name}.zh-TW.md)" in english
    assert f"]({name}.md)" in chinese
    assert f"](docs/{name}.zh-TW.md" in (ROOT / "README.zh-TW.md").read_text(encoding="utf-8")
    assert "??" not in chinese


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_blocks_of_code_are_the_same(name: str) -> None:
    english, chinese = both(name)
    assert commands_in(chinese) == commands_in(english)
    assert commands_and_comments(chinese) == commands_and_comments(english)


@pytest.mark.parametrize("name", NAMES)
def test_code_within_lines_is_the_same(name: str) -> None:
    """A placeholder may be Chinese; fields of nodes have Chinese names in ComfyUI."""
    english, chinese = (
        {WORD.sub("…", code) for code in CODE.findall(FENCED.sub("", text))} for text in both(name)
    )
    assert chinese - english == set()
    assert english - chinese - (fields_of_nodes() if name == "comfyui" else set()) == set()


def fields_of_nodes() -> set[str]:
    locale = ROOT / "src/loralathe/integrations/comfyui/locales/zh-TW/nodeDefs.json"
    nodes = json.loads(locale.read_text(encoding="utf-8")).values()
    inputs = {name for node in nodes for name in node.get("inputs", {})}
    return inputs | {"tag"}


@pytest.mark.parametrize("name", NAMES)
def test_headings_and_tables_are_the_same(name: str) -> None:
    english, chinese = both(name)
    assert re.findall("^#+", chinese, re.MULTILINE) == re.findall("^#+", english, re.MULTILINE)
    assert [row.count("|") for row in rows(chinese)] == [row.count("|") for row in rows(english)]


@pytest.mark.parametrize("name", NAMES)
def test_numbers_are_the_same(name: str) -> None:
    """Row for row in tables, in any order; section for section elsewhere, each number once."""
    english, chinese = both(name)
    for one, other in zip(rows(english), rows(chinese), strict=True):
        assert sorted(numbers(other)) == sorted(numbers(one)), other
    for one, other in zip(sections(english), sections(chinese), strict=True):
        assert set(numbers(other)) <= set(numbers(one)) | spelled(one), other
        assert set(numbers(one)) <= set(numbers(other)) | spelled(other), other


@pytest.mark.parametrize("name", NAMES)
def test_links_are_the_same_and_chinese_pages_lead_to_chinese_ones(name: str) -> None:
    english, chinese = ([target for target, _ in LINK.findall(text)] for text in both(name))
    assert sorted(target.replace(".zh-TW.", ".") for target in chinese if target != f"{name}.md") == sorted(
        target for target in english if target != f"{name}.zh-TW.md"
    )
    strangers = [target for target in chinese if f"{target}"[:-3] in {*NAMES} - {name}]
    assert strangers == []


def test_the_chinese_readme_has_all_that_the_english_one_has() -> None:
    """And the steps of the article beside it."""
    english, chinese = ((ROOT / f"README{end}").read_text(encoding="utf-8") for end in (".md", ".zh-TW.md"))
    assert set(commands_in(english)) - set(commands_in(chinese)) == set()
    assert commands_and_comments(chinese) == commands_and_comments(english)
    assert re.findall("^#+", chinese, re.MULTILINE) == re.findall("^#+", english, re.MULTILINE)
    links = [
        {target.replace(".zh-TW.", ".") for target, _ in LINK.findall(text)} for text in (english, chinese)
    ]
    assert links[0] - {"README.md"} <= links[1] | {"README.md"}
