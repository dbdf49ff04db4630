"""The report: complete in both languages, and needing nothing but itself."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from browser import asked_of, needs_browser
from loralathe.demo.material import Bar, Bars, Chapter, Code, Figure, Picture, Row, Table
from loralathe.demo.play import CHAPTERS
from loralathe.demo.report import LANGUAGES, report_page, words_of, write_report
from loralathe.demo.report.build import inline, paragraphs


def places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_both_languages_have_the_same_texts_with_the_same_places() -> None:
    chinese, english = words_of("zh-TW"), words_of("en")
    assert chinese.keys() == english.keys()
    for key, text in english.items():
        assert places(text) == places(chinese[key]), key
        assert text.strip(), key
        assert chinese[key].strip(), key
        code = [
            set(re.findall(r"`([^`]+)`", one.replace(".zh-TW.md", ".md"))) for one in (text, chinese[key])
        ]
        assert code[0] <= code[1], key


def test_every_chapter_has_its_texts() -> None:
    for key in CHAPTERS:
        assert {f"{key}.title", f"{key}.lead", f"{key}.reading"} <= words_of("en").keys()


def test_a_column_that_a_chapter_explains_is_called_so() -> None:
    for language, marks in (("en", "“{}”"), ("zh-TW", "「{}」")):
        words = words_of(language)
        assert marks.format(words["labels.col_kept"]) in words["again.reading"].replace("“E", "“e")


def test_the_chinese_text_is_traditional() -> None:
    only_simplified = set("们这个来时为会对发说过还样种应试层从见图权让测间开关网络图评")
    assert not only_simplified & set("".join(words_of("zh-TW").values()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a `b<c` **d** & {n}", "a <code>b&lt;c</code> <strong>d</strong> &amp; 7"),
        ("one\ntwo", "one two"),
        ("一\n二", "一二"),
        ("一\ntwo", "一 two"),
        ("一：\ntwo", "一：two"),
        ("one\n（一）", "one（一）"),
    ],
)
def test_inline(text: str, shown: str) -> None:
    assert inline(text, {"n": "7"}) == shown


def test_paragraphs_and_missing_numbers() -> None:
    assert paragraphs("a\nb\n\nc {x}\n", {"x": "1"}) == ["a b", "c 1"]
    with pytest.raises(KeyError):
        inline("{x}", {})


class Reader(HTMLParser):
    """Collects what a browser would fetch, and whether tags are closed in order."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.sources += [found["src"] or ""] if "src" in found else []
        self.links += [found["href"] or ""] if "href" in found else []
        self.ids |= {found["id"] or ""} if "id" in found else set()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def chapter(folder: Path) -> Chapter:
    Image.new("RGB", (8, 8), "red").save(folder / "red.png")
    shown = Picture(folder / "red.png", 0.93)
    row = Row("smiling & <sky>", (shown, Picture(folder / "red.png")))
    numbers = {name: f"«{name}»" for key in words_of("en") for name in places(words_of("en")[key])}
    return Chapter(
        "strength",
        ("A1 = A + 0.7*hina", "B < A"),
        (
            Figure("cross", 'lathe grid "a"', ("0", "1"), (row,), "hina", "Prompt S/R", "02/grid.html"),
            Table(
                "merged_numbers", ("@col_identity",), (("@uniform", ("93 %",)), ("raw", ("1",))), ("lathe x",)
            ),
            Bars(
                "blocks", "lathe blocks", shown, (Bar("IN04", 5.0, 4.0, 6.0, "0.5", shown, shown),), "b.html"
            ),
            Code("recipe", "away.toml", "A <- B"),
        ),
        numbers,
    )


@pytest.fixture
def page(tmp_path: Path) -> str:
    return report_page([chapter(tmp_path)], "zh-TW")


def test_the_page_fetches_nothing(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    assert reader.sources
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    for link in reader.links:
        assert "//" not in link
        assert not link.startswith("#") or link[1:] in reader.ids
    assert "{{" not in page
    assert "@import" not in page
    assert "url(" not in page


def test_every_text_of_the_page_is_there_in_both_languages(page: str) -> None:
    for language in LANGUAGES:
        for key in ("page.title", "strength.title", "figures.cross", "labels.uniform", "closing.title"):
            numbers = {name: f"«{name}»" for name in places(words_of(language)[key])}
            assert inline(words_of(language)[key], numbers) in page
    assert page.count('<span lang="zh-TW">') == page.count('<span lang="en">')
    assert page.count('<div lang="zh-TW">') == page.count('<div lang="en">')
    assert '<html lang="zh-TW" data-language="zh-TW">' in page


def test_what_came_from_outside_is_escaped(page: str) -> None:
    assert "smiling &amp; &lt;sky&gt;" in page
    assert "B &lt; A" in page
    assert "A &lt;- B" in page
    assert "lathe grid &quot;a&quot;" in page


def test_axes_are_named_in_the_language_of_the_page(tmp_path: Path) -> None:
    picture = chapter(tmp_path).parts[0].rows  # type: ignore[union-attr]
    figure = Figure("cross", "lathe grid a", ("0", "1"), picture, "@axis_seed", "sailor")
    page = report_page([replace(chapter(tmp_path), parts=(figure,))], "zh-TW")
    assert '<span lang="zh-TW">種子</span><span lang="en">seed</span> →<br>sailor ↓' in page


@needs_browser
def test_the_bars_of_the_report_fit_a_phone(tmp_path: Path) -> None:
    one = chapter(tmp_path)
    (bars,) = (part for part in one.parts if isinstance(part, Bars))
    bars = replace(bars, bars=tuple(replace(bar, name="OUT05", high=12.9) for bar in bars.bars * 12))
    write_report(tmp_path, [replace(one, parts=(bars,))], "zh-TW")
    boxes = 'document.querySelectorAll("table.bars td, table.bars th, table.bars img")'
    question = (
        f"return {{ right: Math.max(...[...{boxes}].map((box) => box.getBoundingClientRect().right)) }};"
    )
    seen = asked_of(tmp_path / "report.html", question, 390, 844, "lang=en")
    assert 300 < float(str(seen["right"])) <= 390


def test_commands_that_make_files_are_shown_at_once(page: str) -> None:
    shown = page.partition("lathe x</pre>")[0]
    folded = page.partition("lathe grid &quot;a&quot;")[0]
    assert shown.rindex("<details open>") > shown.rindex("<table")
    assert folded.rindex("<details>") > folded.rindex("<table")


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    path = write_report(tmp_path, [chapter(tmp_path)], "en")
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
