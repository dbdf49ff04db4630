"""The language of the person who asks, and the program's texts in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import HTTPConnection

from loralathe import read_catalogue
from loralathe.workshop.errors import said

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


def translated_job(job: dict[str, Any], asked: HTTPConnection) -> dict[str, Any]:
    """A job as the API gives it, its errors, progress, report and log in the person's language."""
    say, label = sayer(asked), labeller(asked)
    if job.get("error"):
        job["error"] = said(job["error"], say)
    if job.get("progress"):
        names = ("task", "unit")
        job["progress"] = job["progress"] | {name: label(job["progress"][name]) for name in names}
    if job.get("report"):
        job["report"] = translated_report(job["report"], asked)
    if job.get("log"):
        job["log"] = [{**line, "text": say(line["text"])} for line in job["log"]]
    return job


def translated_report(report: Mapping[str, Any], asked: HTTPConnection) -> dict[str, Any]:
    """Its rows and sentences in the person's language; blocks and data as they are."""
    say, label = sayer(asked), labeller(asked)
    rows = [[label(key), say(text)] for key, text in report["rows"]]
    return {**report, "rows": rows, "sentences": [say(text) for text in report["sentences"]]}
