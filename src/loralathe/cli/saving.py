"""Options of commands that write a checkpoint, as the web UIs' Checkpoint Merger has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from loralathe.cli.options import FilePath
from loralathe.errors import InputError

F = TypeVar("F", bound=Callable[..., object])


def saving_options(inputs: str) -> Callable[[F], F]:
    """--bake-vae, --discard, --metadata, --metadata-json and --copy-config; read by `take_saving_options`.

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
            default="first",
            metavar="FROM",
            help=f"Copy metadata from: first, {inputs}, merge (all), none. Default: first.",
        ),
        click.option(
            "--metadata-json", metavar="FILE|TEXT", help="Entries to add: a JSON object, or a file with one."
        ),
        click.option(
            "--copy-config",
            "config_from",
            default="any",
            metavar="FROM",
            help=f"Copy the .yaml beside: any (the first that has one), {inputs}, none. Default: any.",
        ),
    )

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def take_saving_options(options: dict[str, Any]) -> dict[str, object]:
    """The options of `saving_options`, taken out of a command's others, as fields of `Save`.

    InputError for metadata that is no JSON object.
    """
    return {
        "vae": options.pop("bake_vae"),
        "discard": options.pop("discard"),
        "metadata": read_metadata(options.pop("metadata_json")),
        "metadata_from": options.pop("metadata_from"),
        "config_from": options.pop("config_from"),
    }


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
