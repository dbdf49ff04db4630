"""`report.html`: the whole story on one page that needs nothing else, in two languages.

Every text is on the page in each language, and the style shows one of them. The words are in one file for
each language, with the same keys. A text may hold `code`, **weight** and {numbers}; a blank line begins a
new paragraph.
"""

from __future__ import annotations

import base64
import html
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import cast

from loralathe.demo.material import Bar, Bars, Chapter, Code, Figure, Part, Picture, Row, Table
from loralathe.tensorfiles import write_whole

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover -- the same parser under its older name
    import tomli as tomllib

LANGUAGES = {"zh-TW": "繁體中文", "en": "English"}

_CODE = re.compile(r"`([^`]+)`")
_STRONG = re.compile(r"\*\*([^*]+)\*\*")
_MARKS = tuple("，。、；：！？（）「」『』〈〉《》")
NOTHING: Mapping[str, str] = {}


def write_report(folder: Path, chapters: Sequence[Chapter], language: str) -> Path:
    """`report.html` in `folder`; it opens in `language`."""
    path = folder / "report.html"
    write_whole(path, report_page(chapters, language).encode())
    return path


def report_page(chapters: Sequence[Chapter], language: str) -> str:
    """The page. Pictures are read from their files and put inside."""
    body = "\n".join(
        [_opening(), _contents(chapters), *(_chapter(at, c) for at, c in enumerate(chapters, 1)), _closing()]
    )
    page = _asset("report.html")
    parts = {
        "language": language,
        "title": html.escape(words_of(language)["page.title"]),
        "style": _asset("report.css"),
        "script": _asset("report.js"),
        "switch": _switch(),
        "body": body,
    }
    for name, text in parts.items():
        page = page.replace("{{" + name + "}}", text)
    return page


def said(key: str, numbers: Mapping[str, str] = NOTHING, tag: str = "span") -> str:
    """A short text in every language."""
    return "".join(
        f'<{tag} lang="{language}">{inline(words_of(language)[key], numbers)}</{tag}>'
        for language in LANGUAGES
    )


def told(key: str, numbers: Mapping[str, str] = NOTHING) -> str:
    """Paragraphs in every language."""
    return "".join(
        f'<div lang="{language}">'
        + "".join(f"<p>{text}</p>" for text in paragraphs(words_of(language)[key], numbers))
        + "</div>"
        for language in LANGUAGES
    )


def label(text: str) -> str:
    """A text as it is, or the words for a key that begins with "@"."""
    return said(f"labels.{text[1:]}") if text.startswith("@") else html.escape(text)


def _asset(name: str) -> str:
    return files("loralathe.demo.report").joinpath(name).read_text(encoding="utf-8")


def _switch() -> str:
    return "".join(
        f'<button type="button" data-language="{key}" lang="{key}">{name}</button>'
        for key, name in LANGUAGES.items()
    )


def _opening() -> str:
    steps = "".join(
        f"<li><code>{html.escape(formula)}</code>{said(f'loop.{name}')}</li>"
        for name, formula in (
            ("merge", "A + hina → A1"),
            ("subtract", "A1 − A → lora1"),
            ("carry", "B + lora1 → B1"),
            ("difference", "B1 ± M·(B − A) → B2"),
            ("again", "B2 − B → lora2"),
        )
    )
    return (
        f'<section class="opening" id="top"><h1>{said("page.title")}</h1>'
        f'<div class="lead">{told("page.lead")}</div>'
        f'<ol class="loop">{steps}</ol>{told("page.how")}</section>'
    )


def _contents(chapters: Sequence[Chapter]) -> str:
    items = "".join(
        f'<li><a href="#{chapter.key}"><b>{at}</b>{said(f"{chapter.key}.title")}</a></li>'
        for at, chapter in enumerate(chapters, 1)
    )
    return f'<nav class="contents"><h2>{said("page.contents")}</h2><ol>{items}</ol></nav>'


def _closing() -> str:
    return (
        f'<section class="closing" id="next"><h2>{said("closing.title")}</h2>{told("closing.text")}</section>'
    )


def _chapter(at: int, chapter: Chapter) -> str:
    formulas = "".join(f"<code>{html.escape(formula)}</code>" for formula in chapter.formulas)
    shown = f'<p class="formula">{formulas}</p>' if formulas else ""
    parts = "".join(_part(part, chapter.numbers) for part in chapter.parts)
    return (
        f'<section id="{chapter.key}"><h2><b>{at}</b>{said(f"{chapter.key}.title")}</h2>'
        f"{told(f'{chapter.key}.lead', chapter.numbers)}{shown}{parts}"
        f'<div class="reading">{told(f"{chapter.key}.reading", chapter.numbers)}</div></section>'
    )


def _part(part: Part, numbers: Mapping[str, str]) -> str:
    if isinstance(part, Figure):
        return _figure(part, numbers)
    if isinstance(part, Table):
        return _table(part, numbers)
    if isinstance(part, Bars):
        return _bars(part, numbers)
    return _code(part)


def _figure(figure: Figure, numbers: Mapping[str, str]) -> str:
    heads = "".join(f"<th scope=col>{html.escape(name)}</th>" for name in figure.columns)
    titles = [
        f"{label(title)} {arrow}" for title, arrow in ((figure.across, "→"), (figure.down, "↓")) if title
    ]
    corner = f"<th class=corner>{'<br>'.join(titles)}</th>"
    rows = "".join(_row(row, figure.columns) for row in figure.rows)
    grid = _scrolling("pictures", corner + heads, rows, len(figure.columns))
    return _framed(figure.key, grid, [figure.command], numbers, figure.page)


def _row(row: Row, columns: Sequence[str]) -> str:
    named = zip(row.pictures, columns, strict=True)
    cells = "".join(f"<td>{_picture(picture, f'{row.label} · {name}')}</td>" for picture, name in named)
    return f"<tr><th scope=row>{html.escape(row.label)}</th>{cells}</tr>"


def _scrolling(kind: str, heads: str, rows: str, columns: int = 0) -> str:
    """Scrolls by itself where the screen is narrow. `columns` of pictures: the fewer, the larger."""
    style = f' style="--columns:{columns}"' if columns else ""
    table = f'<table class="{kind}"{style}><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _table(table: Table, numbers: Mapping[str, str]) -> str:
    heads = "".join(f"<th scope=col>{label(name)}</th>" for name in table.columns)
    rows = "".join(
        f"<tr><th scope=row>{label(name)}</th>{''.join(f'<td>{html.escape(v)}</td>' for v in values)}</tr>"
        for name, values in table.rows
    )
    grid = _scrolling("numbers", f"<td></td>{heads}", rows)
    return _framed(table.key, grid, table.commands, numbers, opened=True)


def _bars(bars: Bars, numbers: Mapping[str, str]) -> str:
    top = max((bar.high for bar in bars.bars), default=0.0) or 1.0
    names = ("block", "changed", "", "weight", "picture", "diff")
    heads = "".join(f"<th scope=col>{said(f'labels.{name}') if name else ''}</th>" for name in names)
    source = f"<td></td><td></td><td></td><td>{_picture(bars.source, 'source')}</td><td></td>"
    rows = f"<tr><th scope=row>{said('labels.source')}</th>{source}</tr>"
    rows += "".join(_bar(bar, top) for bar in bars.bars)
    return _framed(bars.key, _scrolling("bars", heads, rows), [bars.command], numbers, bars.page)


def _bar(bar: Bar, top: float) -> str:
    mean, low, high = (100 * max(0.0, value) / top for value in (bar.mean, bar.low, bar.high))
    interval = f"{max(bar.low, 0.0):.1f} – {bar.high:.1f}"
    whisker = f'<u style="left:{low:.2f}%;width:{high - low:.2f}%"></u>' if high > low else ""
    return (
        f"<tr><th scope=row>{html.escape(bar.name)}</th>"
        f'<td class="track"><i style="width:{mean:.2f}%"></i>{whisker}</td>'
        f"<td>{bar.mean:.1f} %<small>{interval}</small></td><td>{html.escape(bar.weight)}</td>"
        f"<td>{_picture(bar.picture, bar.name)}</td><td>{_picture(bar.difference, bar.name)}</td></tr>"
    )


def _code(code: Code) -> str:
    caption = f"{said(f'figures.{code.key}')} <code>{html.escape(code.title)}</code>"
    return f'<figure class="file"><figcaption>{caption}</figcaption>{_copyable(code.text)}</figure>'


def _framed(
    key: str,
    body: str,
    commands: Sequence[str],
    numbers: Mapping[str, str],
    page: str = "",
    opened: bool = False,
) -> str:
    """A figure with its caption and commands. opened: they are shown at once, as is what makes files."""
    link = f'<a class="zoom" href="{html.escape(page)}">{said("page.zoom")}</a>' if page else ""
    lines = "\n".join(commands)
    fold = "<details open>" if opened else "<details>"
    shown = f"{fold}<summary>{said('page.command')}</summary>{_copyable(lines)}</details>" if commands else ""
    return f"<figure>{body}<figcaption>{said(f'figures.{key}', numbers)} {link}</figcaption>{shown}</figure>"


def _copyable(text: str) -> str:
    return (
        f'<div class="copyable"><pre>{html.escape(text)}</pre><button type="button" data-copy></button></div>'
    )


def _picture(picture: Picture, name: str) -> str:
    data = base64.b64encode(picture.file.read_bytes()).decode()
    image = (
        f'<img src="data:image/png;base64,{data}" alt="{html.escape(name)}" loading="lazy" decoding="async">'
    )
    if picture.score is None:
        return f"<div class=pic>{image}</div>"
    return f'<div class="pic">{image}<span>{100 * picture.score:.0f}</span></div>'


@cache
def words_of(language: str) -> Mapping[str, str]:
    """All texts of a language by dotted key: `strength.lead`."""
    text = files("loralathe.demo.report").joinpath(f"{language}.toml").read_text(encoding="utf-8")
    return dict(_flat(tomllib.loads(text)))


def _flat(table: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += _flat(cast("Mapping[str, object]", value), f"{prefix}{key}.")
        else:
            found.append((prefix + key, str(value)))
    return found


def paragraphs(text: str, numbers: Mapping[str, str]) -> list[str]:
    """The text as HTML paragraphs, its places filled."""
    return [inline(part, numbers) for part in re.split(r"\n\s*\n", text.strip())]


def inline(text: str, numbers: Mapping[str, str] | None = None) -> str:
    """One run of text as HTML. KeyError for a place without a number: a fault of the words."""
    filled = _joined(text)
    for name in set(re.findall(r"\{(\w+)\}", filled)):
        filled = filled.replace("{" + name + "}", (numbers or {})[name])
    escaped = html.escape(filled, quote=False)
    return _STRONG.sub(r"<strong>\1</strong>", _CODE.sub(r"<code>\1</code>", escaped))


def _joined(text: str) -> str:
    """Lines joined by a space; by nothing between two Chinese characters, and beside a full-width mark."""
    lines = [line.strip() for line in text.strip().splitlines()]
    joined = lines[0] if lines else ""
    for line in lines[1:]:
        ends = joined[-1:], line[:1]
        wide = all(end > "\u2e7f" for end in ends) or any(end in _MARKS for end in ends)
        joined += line if wide else f" {line}"
    return joined
