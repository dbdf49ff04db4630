"""Options of commands that write a checkpoint, as the web UIs' Checkpoint Merger has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loralathe.cli.options import FilePath
from loralathe.errors import InputError

if TYPE_CHECKING:
    from loralathe.recipes import Recipe, Save

F = TypeVar("F", bound=Callable[..., object])
PLAIN: Mapping[str, Any] = MappingProxyType(
    {"bake_vae": None, "discard": None, "metadata_from": "first", "metadata_json": None, "config_from": "any"}
)
"""What these options are when none is given."""


def saving_options(inputs: str) -> Callable[[F], F]:
    """--bake-vae, --discard, --metadata, --metadata-json and --copy-config; collected again by `taken`.

    inputs: how the help calls the inputs that may be named.
    """
    options = (
        click.option(
            "--bake-vae", type=FilePath(), metavar="FILE", help="Put the VAE of FILE into the result."
        ),
        click.option("--discard", metavar="REGEX", help="Leave out tensors in whose name REGEX is found."),
        click.option(
            "--metadata",
            "metadata_from",
            default=PLAIN["metadata_from"],
            metavar="FROM",
            help=f"Copy metadata from: first, {inputs}, merge (all), none. Default: first.",
        ),
        click.option(
            "--metadata-json", metavar="FILE|TEXT", help="Entries to add: a JSON object, or a file with one."
        ),
        click.option(
            "--copy-config",
            "config_from",
            default=PLAIN["config_from"],
            metavar="FROM",
            help=f"Copy the .yaml beside: any (the first that has one), {inputs}, none. Default: any.",
        ),
    )

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def taken(options: dict[str, Any]) -> dict[str, Any]:
    """The options of `saving_options`, taken out of a command's others."""
    return {name: options.pop(name) for name in PLAIN}


def save_of(step: str, file: Path, dtype: str | None, choices: Mapping[str, Any]) -> Save:
    """A saved step with these choices; InputError for metadata that is no JSON object."""
    from loralathe.recipes import Save

    return _with(Save(step, file, dtype), choices)


def chosen(recipe: Recipe, choices: Mapping[str, Any]) -> Recipe:
    """The recipe with these choices for all that it saves."""
    return replace(recipe, saves=tuple(_with(save, choices) for save in recipe.saves))


def _with(save: Save, choices: Mapping[str, Any]) -> Save:
    return replace(
        save,
        discard=choices["discard"],
        metadata=read_metadata(choices["metadata_json"]),
        vae=choices["bake_vae"],
        metadata_from=choices["metadata_from"],
        config_from=choices["config_from"],
    )


def read_metadata(given: str | None) -> dict[str, str]:
    """The entries of a JSON object, given as text or by its file; what is no text is kept as JSON."""
    if given is None:
        return {}
    text, where = given, "--metadata-json"
    if not given.lstrip().startswith("{"):
        where = given
        try:
            text = Path(given).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"the metadata cannot be read: {error}",
                where=where,
                fix='give a file, or text such as \'{"a": "b"}\'',
            ) from None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"the metadata is no JSON: {error}", where=where, fix='write {"name": "text"}'
        ) from None
    if not isinstance(found, dict):
        raise InputError("the metadata is no JSON object", where=where, fix='write {"name": "text"}')
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in found.items()
    }
