"""Names that forms offer: samplers, schedules, block lists; and the folders that a process is kept to."""

from __future__ import annotations

from collections.abc import Mapping

from loralathe.api.arguments import PathLike
from loralathe.tensorfiles import confine

__all__ = [
    "block_list",
    "builtin_lists",
    "confine",
    "preset_lists",
    "sampler_names",
    "schedule_names",
    "upscaler_names",
    "write_preset",
]


def sampler_names() -> tuple[str, ...]:
    """As A1111 calls them."""
    from loralathe.rendering.samplers import SAMPLERS

    return tuple(SAMPLERS)


def upscaler_names() -> tuple[str, ...]:
    """Of hires fix, as A1111 calls them."""
    from loralathe.rendering import UPSCALERS

    return tuple(UPSCALERS)


def schedule_names() -> tuple[str, ...]:
    """As A1111 calls them; "Automatic" is the sampler's own."""
    from loralathe.rendering.samplers import SCHEDULES

    return tuple(SCHEDULES)


def block_list(text: str, family: str, presets: Mapping[str, str] | None = None) -> list[tuple[str, float]]:
    """A list of block weights, or the name of one, as (block, weight) in the order of the family's blocks.

    Weights by name are completed with what they say of the rest. family: its id, such as "sdxl".
    Raises InputError for lists and names that the family does not have.
    """
    from loralathe.families import family_by_id
    from loralathe.strengths import parse_block_weights

    known = family_by_id(family)
    found = parse_block_weights(text, known, presets or {})
    if found.rest is None:
        return list(found.weights)
    weights = dict(found.weights)
    encoders = [name for name in weights if name not in known.long_blocks]
    return [(name, weights.get(name, found.rest)) for name in (*encoders, *known.long_blocks)]


def builtin_lists() -> tuple[str, ...]:
    """Names of the block lists that are known without a file, of all families together."""
    from loralathe.families import FAMILIES
    from loralathe.strengths import builtin_names

    return tuple(dict.fromkeys(name for family in FAMILIES for name in builtin_names(family)))


def preset_lists(path: PathLike) -> dict[str, str]:
    """Name → list, of a file such as lbwpresets.txt; empty where there is none."""
    from pathlib import Path

    from loralathe.strengths import read_preset_file

    return dict(read_preset_file(Path(path)).presets) if Path(path).is_file() else {}


def write_preset(path: PathLike, name: str, text: str | None) -> None:
    """Add or replace a list in such a file, or remove it (None); the other lines stay as they are.

    Raises InputError for a name or a list that the file cannot hold.
    """
    from pathlib import Path

    from loralathe.strengths import with_preset
    from loralathe.tensorfiles import read_text, text_bytes, write_whole

    file = Path(path)
    content = read_text(file, "preset file") if file.exists() else ""
    write_whole(file, text_bytes(with_preset(content, name, text), str(file)))
