"""Text on sheets: a font for every label, lines wrapped to a width, measured and drawn.

ASCII is drawn with Pillow's own font, Chinese and all else with one of the system's. Signs that no font at
hand can draw are spelt in ASCII.
"""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont


@dataclass(frozen=True, slots=True)
class Label:
    """Wrapped lines with their size in pixels; every line is `line` pixels high."""

    lines: tuple[str, ...]
    size: int
    width: int
    height: int
    line: int


def width_of(text: str, size: int) -> int:
    return round(font_for(text, size).getlength(text))


def make_label(text: str, size: int, width: int, max_lines: int = 6) -> Label:
    """`text` wrapped to `width` pixels: at blanks, after commas, between CJK characters,
    inside a word only when it must be.

    What does not fit in `max_lines` ends in an ellipsis; nothing is ever shrunk until it cannot be read.
    """
    lines: list[str] = []
    for paragraph in drawable(text).split("\n"):
        lines.extend(_wrap(paragraph, size, width))
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], _ellipsised(lines[max_lines - 1] + "…", size, width)]
    height = round(size * 1.3)
    return Label(
        tuple(lines),
        size,
        max((width_of(line, size) for line in lines), default=0),
        height * len(lines),
        height,
    )


def _wrap(text: str, size: int, width: int) -> list[str]:
    lines, current = [], ""
    for piece in _pieces(text):
        if width_of((current + piece).rstrip(), size) <= width:
            current += piece
            continue
        if current.strip():
            lines.append(current.rstrip())
        current = piece.lstrip()
        while width_of(current.rstrip(), size) > width and len(current) > 1:
            cut = _fitting(current, size, width)
            lines.append(current[:cut])
            current = current[cut:]
    return [*lines, current.rstrip()] if current.strip() or not lines else lines


def _pieces(text: str) -> list[str]:
    """Words and list entries with the blanks after them; every CJK character alone."""
    pieces: list[str] = []
    for character in text:
        if pieces and (character.isspace() or not _breaks(pieces[-1], character)):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


def _breaks(before: str, character: str) -> bool:
    """Whether a line may break between a piece and the next character: after blanks, commas, around CJK."""
    last = before[-1]
    return last.isspace() or last == "," or _is_wide(last) or _is_wide(character)


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _fitting(text: str, size: int, width: int) -> int:
    cut = len(text)
    while cut > 1 and width_of(text[:cut], size) > width:
        cut -= 1
    return cut


def _ellipsised(text: str, size: int, width: int) -> str:
    while len(text) > 1 and width_of(text, size) > width:
        text = text[:-2] + "…"
    return text


def draw_label(
    draw: ImageDraw.ImageDraw, label: Label, place: tuple[float, float], colour: str, align: str = "m"
) -> None:
    """Draw with its block centred on `place`'s height; `align` l, m or r says what its x is of each line."""
    x, y = place
    top = y - label.height / 2
    for index, line in enumerate(label.lines):
        middle = top + label.line * (index + 0.5)
        draw.text((x, middle), line, font=font_for(line, label.size), fill=colour, anchor=f"{align}m")


Font = ImageFont.FreeTypeFont

_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
    "C:/Windows/Fonts",
    "~/AppData/Local/Microsoft/Windows/Fonts",
)
# Best first; (file name, index of the face for Traditional Chinese in a collection).
_FILES = (
    ("NotoSansCJK-Regular.ttc", 3),
    ("NotoSansTC-Regular.otf", 0),
    ("NotoSansTC-Regular.ttf", 0),
    ("NotoSansCJKtc-Regular.otf", 0),
    ("SourceHanSansTC-Regular.otf", 0),
    ("PingFang.ttc", 0),
    ("msjh.ttc", 0),
    ("STHeiti Light.ttc", 0),
    ("Hiragino Sans GB.ttc", 0),
    ("NotoSerifCJK-Regular.ttc", 3),
    ("wqy-microhei.ttc", 0),
    ("wqy-zenhei.ttc", 0),
    ("DroidSansFallbackFull.ttf", 0),
    ("DroidSansFallback.ttf", 0),
    ("uming.ttc", 0),
    ("Arial Unicode.ttf", 0),
)
# For accents, Greek, Cyrillic and signs, where no font with Chinese is there.
_PLAIN_FILES = (
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "SFNS.ttf",
    "Arial.ttf",
    "segoeui.ttf",
    "arial.ttf",
)
_ABSENT = "\U0010fffd"  # a private-use code point no font draws


@lru_cache(maxsize=64)
def _own(size: int) -> Font:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow built without FreeType has one fixed bitmap
        raise TypeError("Pillow was built without FreeType")
    return font


@lru_cache(maxsize=4096)
def _drawn(font: Font, character: str) -> bool:
    """Whether the font has this character: its picture differs from that of a code point no font has."""
    if character.isspace():
        return True
    return bytes(font.getmask(character)) != bytes(font.getmask(_ABSENT))


@lru_cache(maxsize=1)
def _installed() -> dict[str, Path]:
    """Font files of this system by name."""
    found: dict[str, Path] = {}
    for folder in _FOLDERS:
        root = Path(folder).expanduser()
        for path in root.rglob("*") if root.is_dir() else ():
            if path.suffix.lower() in (".ttc", ".ttf", ".otf"):
                found.setdefault(path.name, path)
    return found


@lru_cache(maxsize=1)
def wide_font() -> tuple[str, int] | None:
    """File and face of a font with Chinese characters, or None: known names first, then fontconfig's."""
    for name, face in _FILES:
        file = _installed().get(name)
        if file is not None and _opens(str(file), face, "圖"):
            return str(file), face
    return _from_fontconfig()


@lru_cache(maxsize=1)
def plain_font() -> tuple[str, int] | None:
    """File and face of a font with the signs and letters beyond ASCII, or None."""
    for name in _PLAIN_FILES:
        file = _installed().get(name)
        if file is not None and _opens(str(file), 0, "é"):
            return str(file), 0
    return None


def _from_fontconfig() -> tuple[str, int] | None:
    if shutil.which("fc-match") is None:
        return None
    asked = ["fc-match", "-f", "%{file}\t%{index}", "sans:lang=zh-tw"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=10).stdout
    file, _, index = answer.partition("\t")
    face = int(index) & 0xFFFF if index.isdigit() else 0
    return (file, face) if file and _opens(file, face, "圖") else None


def _opens(file: str, face: int, sample: str) -> bool:
    try:
        return _drawn(ImageFont.truetype(file, 16, index=face), sample)
    except OSError:
        return False


@lru_cache(maxsize=64)
def _wide(size: int) -> Font | None:
    found = wide_font()
    return None if found is None else ImageFont.truetype(found[0], size, index=found[1])


@lru_cache(maxsize=64)
def _plain(size: int) -> Font | None:
    found = plain_font()
    return None if found is None else ImageFont.truetype(found[0], size, index=found[1])


def _fonts(size: int) -> Iterator[Font]:
    """All fonts there are, best first; the system's are looked for only when one is asked for."""
    yield _own(size)
    for find in (_wide, _plain):
        font = find(size)
        if font is not None:
            yield font


def _lacking(font: Font, text: str) -> set[str]:
    return {character for character in text if not _drawn(font, character)}


def font_for(text: str, size: int) -> Font:
    """The first font that draws all of `text`; the one that lacks least where none does."""
    tried: list[tuple[int, Font]] = []
    for font in _fonts(size):
        lacking = len(_lacking(font, text))
        if not lacking:
            return font
        tried.append((lacking, font))
    return min(tried, key=lambda pair: pair[0])[1]


def drawable(text: str) -> str:
    """`text` as labels show it: signs that its font lacks are spelt in ASCII where possible."""
    text = unicodedata.normalize("NFC", text)
    lacking = _lacking(font_for(text, 16), text)
    spelt = {character: spelling(character) for character in lacking}
    return text.translate({ord(c): plain for c, plain in spelt.items() if plain is not None})


def missing_characters(texts: list[str]) -> str:
    """Characters of the texts that labels show as boxes, once each; a caller tells the person about them."""
    shown = [drawable(text) for text in texts]
    return "".join(sorted({c for text in shown for c in _lacking(font_for(text, 16), text)}))


_SPELT = {
    "→": "->", "←": "<-", "↔": "<->", "⇒": "=>", "⇐": "<=", "⇔": "<=>", "➜": "->", "➔": "->",
    "×": "x", "÷": "/", "−": "-", "±": "+-", "√": "sqrt ", "∞": "inf",
    "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "²": "^2", "³": "^3", "°": " deg", "µ": "u",
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "…": "...", "·": ".", "•": "*",
    "‘": "'", "’": "'", "“": '"', "”": '"', "′": "'", "″": '"', "«": '"', "»": '"', "‹": "'", "›": "'",
    "、": ",", "。": ".", "「": '"', "」": '"', "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE",
    "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D",
}  # fmt: skip


def spelling(character: str) -> str | None:
    """`->` for →, `x` for ×, `e` for é; "" for invisible characters; None if ASCII has nothing like it."""
    if character in _SPELT:
        return _SPELT[character]
    if unicodedata.category(character) == "Cf":  # joiners, marks of direction
        return ""
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
    plain = plain.replace("\u2044", "/")  # NFKD writes ½ with a sign of its own
    return plain if plain.isascii() and plain else None
