"""What the functions share: paths as people give them, and the options of a run as keywords."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

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


def run_options(options: RunOptions | None, keywords: RunKeywords) -> RunOptions:
    """`options` with the keywords on top; InputError for a keyword that does not exist."""
    from loralathe.engine import RunOptions

    for name in keywords:
        if name not in RunKeywords.__annotations__:
            raise InputError(
                f"there is no option '{name}'",
                fix=did_you_mean(name, RunKeywords.__annotations__)
                or "options are " + ", ".join(RunKeywords.__annotations__),
            )
    return replace(options or RunOptions(), **keywords)


def paths(inputs: Inputs | None) -> dict[str, Path]:
    """Name → path."""
    return {name: Path(path) for name, path in (inputs or {}).items()}
