"""The language of the person who asks, and the program's texts in it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import HTTPConnection

from loralathe import read_catalogue

LANGUAGE = "lathe-language"


def language_of(asked: HTTPConnection) -> str:
    """The cookie's, else the browser's."""
    chosen = asked.cookies.get(LANGUAGE)
    if chosen in ("en", "zh-TW"):
        return chosen
    return "zh-TW" if asked.headers.get("accept-language", "").lower().lstrip().startswith("zh") else "en"


def sayer(asked: HTTPConnection) -> Callable[[str], str]:
    """Texts of the program in the person's language."""
    language = language_of(asked)
    return str if language == "en" else read_catalogue(language).say


def labeller(asked: HTTPConnection) -> Callable[[str], str]:
    """Names of rows, fields and tasks in the person's language."""
    language = language_of(asked)
    return str if language == "en" else read_catalogue(language).label
