"""Every option of the library has its field in the workshop, and every field is an option."""

from __future__ import annotations

import inspect

import pytest

import loralathe
from loralathe.api import arguments, picture_options
from loralathe.workshop.commands import COMMANDS
from loralathe.workshop.fields import OPTIONS, forms

OWN = {"options", "progress", "lora_dir", "checkpoint_dir", "vae_dir"}
"""What the workshop gives itself."""
KEYWORDS = {
    "render": picture_options.OpenRenderKeywords,
    "grid": picture_options.OpenGridKeywords,
    "blocks": picture_options.OpenBlocksKeywords,
    "merge": arguments.SaveKeywords,
    "add_difference": arguments.SaveKeywords,
    "weighted_sum": arguments.SaveKeywords,
    "convert": arguments.SaveKeywords,
    "combine": arguments.RunKeywords,
    "extract": arguments.RunKeywords,
    "resize": arguments.RunKeywords,
    "run": arguments.RunKeywords,
}
RECIPE = {"recipe", "step", "variables"}
"""A grid of what a recipe makes: another function of the library."""


def keywords_of(command: str) -> set[str]:
    """What its function takes by name, its keywords and theirs."""
    parameters = inspect.signature(getattr(loralathe, command)).parameters.values()
    found = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
    return found | set(getattr(KEYWORDS.get(command), "__annotations__", {}))


def test_every_command_has_fields() -> None:
    assert set(OPTIONS) == set(COMMANDS)


@pytest.mark.parametrize("command", sorted(OPTIONS))
def test_every_option_has_a_field(command: str) -> None:
    fields = set(OPTIONS[command]) - (RECIPE if command == "grid" else set())
    assert fields == keywords_of(command) - OWN


def test_fields_as_json() -> None:
    found = forms(str, {"sampler": ["Euler"]})
    grid = {one["name"]: one for one in found["grid"]}
    assert grid["sampler"]["choices"] == ["Euler"]
    kinds = {one["kind"] for fields in found.values() for one in fields}
    assert kinds <= {"text", "lines", "number", "whole", "choice", "flag", "file", "files", "list", "map"}
    assert all(one["of"] for fields in found.values() for one in fields if one["kind"].startswith("file"))
