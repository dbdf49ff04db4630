"""A readable font for every label: Pillow's own for ASCII, the system's for Chinese and all else."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from loralathe.studies.drawing.signs import spelling

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
    """`text` as labels show it: signs that its font lacks are spelt in ASCII, where that says the same."""
    text = unicodedata.normalize("NFC", text)
    lacking = _lacking(font_for(text, 16), text)
    spelt = {character: spelling(character) for character in lacking}
    return text.translate({ord(c): plain for c, plain in spelt.items() if plain is not None})


def missing_characters(texts: list[str]) -> str:
    """Characters of the texts that labels show as boxes, once each; a caller tells the person about them."""
    shown = [drawable(text) for text in texts]
    return "".join(sorted({c for text in shown for c in _lacking(font_for(text, 16), text)}))
