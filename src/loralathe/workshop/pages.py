"""What pages carry: their words in both languages, and the data of a study's saved page."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from loralathe import InputError, read_page
from loralathe.workshop.places import Places

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DATA = re.compile(rb'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
PAGES = {
    name: f"{name}.html" for name in ("grid", "blocks", "segments", "tune", "everywhere", "soup", "cure")
}
"""Studies whose page is shown, and its file in their folder."""
_OWN = re.compile(r"(?:[^/\\]+/)?(?:(?:cells|diffs)/[\w.-]+\.png|tune\.html)")
"""Pictures of a study, and searches in its folder."""


MOST_BYTES = 64 << 20
"""Of the pictures inside of a page that is served."""


@cache
def words_of() -> dict[str, Any]:
    """Section → key → text, for each language, and what the study's pages say in Chinese."""
    english = tomllib.loads((files(__package__) / "texts.toml").read_text("utf-8"))
    study = {name: read_page("zh-TW", name) for name in PAGES}
    return {"en": english, "zh-TW": read_page("zh-TW", "workshop"), "study": study}


def page_kind(job: Mapping[str, Any]) -> str:
    """Which page a job's study has."""
    by_segments = job["command"] == "blocks" and job["request"]["options"].get("segments")
    return "segments" if by_segments else str(job["command"])


def page_data(job: dict[str, Any], places: Places) -> dict[str, Any]:
    """The data in a study's page, its pictures as addresses. InputError where there is no page yet."""
    kind = page_kind(job)
    name = PAGES.get(kind)
    if name is None or not job["folder"]:
        raise InputError("this job has no page yet", fix="wait for its first picture")
    path = places.file(f"{job['folder']}/{name}")
    found = _DATA.search(path.read_bytes())
    if found is None:
        raise InputError("the page is not one of ours", where=path.name, fix="make the study again")
    data = json.loads(found[1])
    return {"kind": kind, "data": _addressed(data, f"/files/{job['folder']}/")}


def whole_page(path: Path) -> bytes:
    """A saved page with its pictures inside, as far as they are `MOST_BYTES`: a page that is served has no
    origin, so it may ask this server for none.
    """
    page = path.read_bytes()
    found = _DATA.search(page)
    if found is None:
        return page
    held: dict[str, str] = {}

    def inside(text: str) -> str:
        file = path.parent / text
        if (
            text.endswith(".png")
            and text not in held
            and file.is_file()
            and sum(map(len, held.values())) < MOST_BYTES
        ):
            held[text] = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
        return held.get(text, text)

    data = _changed(json.loads(found[1]), inside)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":  # as where it was written: it stands in a script
        text = text.replace(character, f"\\u{ord(character):04x}")
    return page[: found.start(1)] + text.encode("utf-8", "backslashreplace") + page[found.end(1) :]


def _addressed(value: Any, prefix: str) -> Any:
    """The same with relative files of pictures as addresses."""
    return _changed(value, lambda text: prefix + text)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """The same with every file of the study changed."""
    if isinstance(value, dict):
        return {key: _changed(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [_changed(one, change) for one in value]
    return change(value) if isinstance(value, str) and _OWN.fullmatch(value) else value
