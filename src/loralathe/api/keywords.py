"""What the functions share: paths as people give them, and the options of a run as keywords."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, cast

from loralathe.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from loralathe.engine import RunOptions

PathLike = str | os.PathLike[str]
Inputs = Mapping[str, PathLike]


class RunKeywords(TypedDict, total=False):
    """The fields of `RunOptions`, which says what they mean."""

    device: str
    threads: int | None
    memory: int
    force: bool
    allow_unmatched: bool
    missing_blocks: Literal[0, 1] | None
    check_finite: bool
    hash_inputs: bool
    presets: Mapping[str, str]


class SaveKeywords(RunKeywords, total=False):
    """How a checkpoint is saved, besides: the fields of `Save`, which says what they mean."""

    vae: PathLike | None
    discard: str | None
    metadata: Mapping[str, str]
    metadata_from: str
    config_from: str


SAVING = ("vae", "discard", "metadata", "metadata_from", "config_from")


def run_options(options: RunOptions | None, keywords: RunKeywords) -> RunOptions:
    """`options` with the keywords on top; InputError for a keyword that does not exist."""
    from loralathe.engine import RunOptions

    _require_known(keywords, tuple(RunKeywords.__annotations__))
    return replace(options or RunOptions(), **keywords)


def split_keywords(keywords: SaveKeywords) -> tuple[dict[str, object], RunKeywords]:
    """Those of saving, as fields of `Save`, and those of the run; InputError for one that does not exist."""
    _require_known(keywords, (*SAVING, *RunKeywords.__annotations__))
    saving: dict[str, object] = {name: value for name, value in keywords.items() if name in SAVING}
    if (vae := keywords.get("vae")) is not None:
        saving["vae"] = Path(vae)
    rest = {name: value for name, value in keywords.items() if name not in SAVING}
    return saving, cast(RunKeywords, rest)


def _require_known(keywords: Iterable[str], names: Sequence[str]) -> None:
    for name in keywords:
        if name not in names:
            fix = did_you_mean(name, names) or "options are " + ", ".join(names)
            raise InputError(f"there is no option '{name}'", fix=fix)


def texts(given: str | Sequence[str]) -> list[str]:
    """One text, or several."""
    return [given] if isinstance(given, str) else list(given)


def paths(inputs: Inputs | None) -> dict[str, Path]:
    """Name → path."""
    return {name: Path(path) for name, path in (inputs or {}).items()}
