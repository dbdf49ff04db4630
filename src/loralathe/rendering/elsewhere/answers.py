"""Values out of the JSON that a server sent, each of the kind that it documents, or an error."""

from __future__ import annotations

from collections.abc import Mapping

from loralathe.rendering.elsewhere.work import LostError


def mapping(value: object, what: str) -> Mapping[str, object]:
    """A JSON object. Raises LostError for anything else; `what` the value is called."""
    if isinstance(value, dict):
        return value
    raise LostError(f"the server's answer lacks '{what}'")


def items(value: object, what: str) -> list[object]:
    """A JSON list."""
    if isinstance(value, list):
        return value
    raise LostError(f"the server's answer lacks '{what}'")


def text(value: object, what: str) -> str:
    """A JSON string."""
    if isinstance(value, str):
        return value
    raise LostError(f"the server's answer lacks '{what}'")


def texts(value: object, what: str) -> list[str]:
    """A JSON list of strings."""
    return [text(one, what) for one in items(value, what)]
