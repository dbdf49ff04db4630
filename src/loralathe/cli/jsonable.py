"""Reports as JSON: dataclasses to objects, and no NaN, which JSON does not know."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


def jsonable(value: object) -> Json:
    """Plain data for `json.dumps`; TypeError for what has no such form."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: jsonable(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    raise TypeError(f"no JSON for {type(value).__name__}")


def _key(key: object) -> str:
    return "none" if key is None else f"{key:g}" if isinstance(key, float) else str(key)


def line(event: str, **fields: object) -> str:
    """One event as a line of JSON."""
    record = {"event": event} | {name: jsonable(value) for name, value in fields.items()}
    return json.dumps(record, ensure_ascii=False, allow_nan=False)
