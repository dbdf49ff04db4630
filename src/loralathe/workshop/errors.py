"""Errors as the API tells them: what, where, how to mend it, and the field of the form that is meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loralathe import LatheError


def as_json(error: LatheError) -> dict[str, Any]:
    """what, where, fix, and field: the option that it is about, else that `where`, what or fix name first."""
    named: list[str] = []

    def spelled(name: str, value: object) -> str:
        named.append(name)
        return name if value is None else f"{name} = {value}"

    where = error.where and error.where.spelled(spelled)
    what, fix = error.what.spelled(spelled), error.fix and error.fix.spelled(spelled)
    field = error.about or (named[0] if named else None)
    return {"what": what, "where": where or "", "fix": fix or "", "field": field}


def said(found: dict[str, Any], say: Callable[[str], str]) -> dict[str, Any]:
    """The same in a person's language."""
    return {**found, **{name: say(found[name]) for name in ("what", "where", "fix") if found.get(name)}}
