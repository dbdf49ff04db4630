"""The HTTP API as an OpenAPI document, made from the table of addresses: `GET /api/openapi.json`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from loralathe import __version__
from loralathe.workshop.commands import COMMANDS
from loralathe.workshop.fields import OPTIONS, Field

QUERY = {
    "library": ("kind", "search", "family", "base", "offset", "limit"),
    "file": ("name",),
    "thumbnail": ("name",),
    "recorded": ("name",),
    "jobs": ("limit",),
    "jobs/{id}": ("files",),
}
"""What stands after the question mark."""
REQUESTS = ("plan", "ask", "jobs")
_KINDS = {
    "number": "number",
    "whole": "integer",
    "flag": "boolean",
    "list": "array",
    "numbers": "array",
    "files": "array",
    "map": "object",
}

Table = Iterable[tuple[str, Callable[..., Any], list[str]]]


def openapi(table: Table) -> dict[str, Any]:
    """The document. table: addresses below /api, their functions and methods; it repeats the docstrings."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "loralathe workshop",
            "version": __version__,
            "description": "Every request that changes something needs the header X-Lathe: 1. "
            "Files are called PLACE/path, such as checkpoints/baseA.safetensors.",
        },
        "paths": {f"/api/{path}": _path(path, function, methods) for path, function, methods in table},
        "components": {"schemas": _schemas()},
    }


def _path(path: str, function: Callable[..., Any], methods: list[str]) -> dict[str, Any]:
    inside = [_parameter(name, "path") for name in re.findall(r"{(\w+)}", path)]
    asked = [_parameter(name, "query") for name in QUERY.get(path, ())]
    found: dict[str, Any] = {"parameters": [*inside, *asked]}
    for method in methods:
        found[method.lower()] = {
            "summary": (function.__doc__ or "").strip(),
            "responses": {"200": {"description": "the answer"}, "422": _refusal()},
        }
        if method != "GET":
            marked = {**_parameter("X-Lathe", "header"), "schema": {"const": "1"}, "required": True}
            found[method.lower()]["parameters"] = [marked]
    if path in REQUESTS:
        body = {"$ref": "#/components/schemas/Request"}
        found["post"]["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return found


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}


def _refusal() -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": "refused, in words", "content": {"application/json": {"schema": schema}}}


def _schemas() -> dict[str, Any]:
    text = {"type": "string"}
    error = {"what": text, "where": text, "fix": text, "field": {"type": ["string", "null"]}}
    requests = {command: _request(command) for command in COMMANDS}
    named = [{"$ref": f"#/components/schemas/{command}"} for command in requests]
    return {
        "Error": {"type": "object", "properties": {"error": {"type": "object", "properties": error}}},
        "Request": {"oneOf": named},
        **requests,
    }


def _request(command: str) -> dict[str, Any]:
    words = ", ".join(COMMANDS[command].words)
    options = {name: _option(field) for name, field in OPTIONS[command].items()}
    return {
        "type": "object",
        "required": ["command"],
        "properties": {
            "command": {"const": command},
            "words": {"type": "array", "description": words},
            "options": {"type": "object", "additionalProperties": False, "properties": options},
            "title": {"type": "string"},
        },
    }


def _option(field: Field) -> dict[str, Any]:
    found: dict[str, Any] = {"type": _KINDS.get(field.kind, "string"), "description": field.label}
    if field.choices:
        del found["type"]
        found["enum"] = list(field.choices)
    return found
