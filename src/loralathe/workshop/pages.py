"""What pages carry: their words in both languages, and the data of a study's saved page."""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from importlib.resources import files
from typing import Any

from loralathe import InputError, read_page
from loralathe.workshop.places import Places

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DATA = re.compile(rb'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
PAGES = {name: f"{name}.html" for name in ("grid", "blocks", "tune", "everywhere", "soup")}
"""Studies whose page is shown, and its file in their folder."""
_OWN = re.compile(r"(?:[^/\\]+/)?(?:(?:cells|diffs)/[\w.-]+\.png|tune\.html)")
"""Pictures of a study, and searches in its folder."""


@cache
def words_of() -> dict[str, Any]:
    """Section → key → text, for each language, and what the study's pages say in Chinese."""
    english = tomllib.loads((files(__package__) / "texts.toml").read_text("utf-8"))
    study = {name: read_page("zh-TW", name) for name in PAGES}
    return {"en": english, "zh-TW": read_page("zh-TW", "workshop"), "study": study}


def page_data(job: dict[str, Any], places: Places) -> dict[str, Any]:
    """The data in a study's page, its pictures as addresses. InputError where there is no page yet."""
    name = PAGES.get(job["command"])
    if name is None or not job["folder"]:
        raise InputError("this job has no page yet", fix="wait for its first picture")
    path = places.file(f"{job['folder']}/{name}")
    found = _DATA.search(path.read_bytes())
    if found is None:
        raise InputError("the page is not one of ours", where=path.name, fix="make the study again")
    data = json.loads(found[1])
    return {"kind": job["command"], "data": _addressed(data, f"/files/{job['folder']}/")}


def _addressed(value: Any, prefix: str) -> Any:
    """The same with relative files of pictures as addresses."""
    if isinstance(value, dict):
        return {key: _addressed(one, prefix) for key, one in value.items()}
    if isinstance(value, list):
        return [_addressed(one, prefix) for one in value]
    if isinstance(value, str) and _OWN.fullmatch(value):
        return prefix + value
    return value
