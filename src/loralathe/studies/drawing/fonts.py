"""A readable font for every label: Pillow's own for Latin, one of the system's for Chinese and the like."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

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
_ABSENT = "\U0010fffd"  # a private-use code point no font draws


def needs_more_than_latin(text: str) -> bool:
    return any(ord(character) > 0x2FF and not _drawn(_own(16), character) for character in text)


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
def wide_font() -> tuple[str, int] | None:
    """File and face of a font with Chinese characters, or None: known names first, then fontconfig's."""
    for folder in _FOLDERS:
        root = Path(folder).expanduser()
        if not root.is_dir():
            continue
        present = {
            path.name: path for path in root.rglob("*") if path.suffix.lower() in (".ttc", ".ttf", ".otf")
        }
        for name, face in _FILES:
            if name in present and _opens(str(present[name]), face):
                return str(present[name]), face
    return _from_fontconfig()


def _from_fontconfig() -> tuple[str, int] | None:
    if shutil.which("fc-match") is None:
        return None
    asked = ["fc-match", "-f", "%{file}\t%{index}", "sans:lang=zh-tw"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=10).stdout
    file, _, index = answer.partition("\t")
    face = int(index) & 0xFFFF if index.isdigit() else 0
    return (file, face) if file and _opens(file, face) else None


def _opens(file: str, face: int) -> bool:
    try:
        return _drawn(ImageFont.truetype(file, 16, index=face), "圖")
    except OSError:
        return False


@lru_cache(maxsize=64)
def _wide(size: int) -> Font | None:
    found = wide_font()
    return None if found is None else ImageFont.truetype(found[0], size, index=found[1])


def font_for(text: str, size: int) -> Font:
    """The font that draws all of `text`; Pillow's own when nothing better is there."""
    if needs_more_than_latin(text):
        wide = _wide(size)
        if wide is not None:
            return wide
    return _own(size)


def missing_characters(texts: list[str]) -> str:
    """Characters of the texts that no font here can draw, once each; a caller tells the person about them."""
    lacking = {c for text in texts for c in text if not _drawn(font_for(text, 16), c)}
    return "".join(sorted(lacking))
