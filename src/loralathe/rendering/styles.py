"""A1111's styles.csv: named texts that are put around or after a prompt and a negative prompt."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loralathe.errors import InputError, did_you_mean, option
from loralathe.tensorfiles import read_small

PLACEHOLDER = "{prompt}"
LARGEST = 4 << 20
"""Bytes: tens of thousands of styles."""


@dataclass(frozen=True)
class Style:
    """One row of the file; either text may be empty."""

    name: str
    prompt: str
    negative: str


def read_styles(file: Path) -> dict[str, Style]:
    """Styles by name. A byte order mark, line breaks within quotes and A1111's old column `text` are read."""
    try:
        text = read_small(file, "styles file", LARGEST).decode("utf-8-sig")  # line breaks as they are
        rows = csv.DictReader(io.StringIO(text, newline=""))
        found = list(rows)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"the styles cannot be read: {error}", where=str(file), fix="give A1111's styles.csv"
        ) from error
    if "name" not in (rows.fieldnames or ()):
        raise InputError(
            "the first line does not name the columns",
            where=str(file),
            fix="the first line is name,prompt,negative_prompt",
        )
    styles = (_style(row) for row in found if row["name"] and not row["name"].startswith("#"))
    return {style.name: style for style in styles}


def apply_styles(
    prompt: str, negative: str, names: Sequence[str], styles: Mapping[str, Style]
) -> tuple[str, str]:
    """Both prompts after all styles, in the order of `names`; InputError for a name that is unknown."""
    for name in names:
        if name not in styles:
            raise InputError(
                f"there is no style '{name}'", where=option("style"), fix=did_you_mean(name, list(styles))
            )
        prompt = _merged(styles[name].prompt, prompt)
        negative = _merged(styles[name].negative, negative)
    return prompt, negative


def _style(row: Mapping[str, str | None]) -> Style:
    prompt = row.get("prompt") or row.get("text") or ""
    return Style(row["name"] or "", prompt, row.get("negative_prompt") or "")


def _merged(style: str, prompt: str) -> str:
    if PLACEHOLDER in style:
        return style.replace(PLACEHOLDER, prompt)
    return ", ".join(part for part in (prompt.strip(), style.strip()) if part)
