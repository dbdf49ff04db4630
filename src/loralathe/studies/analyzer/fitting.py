"""Which blocks are worth examining: those that the adapters have modules in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from loralathe.adapters import open_adapter
from loralathe.families import Family


def fitting_list(adapters: Iterable[Path], family: Family) -> str:
    """`17ALL` (SDXL `12ALL`) where the adapters keep to the short list's blocks, else `26ALL` (`20ALL`).

    Linear layers are in the short list's blocks only; a LoCon reaches the others too.
    """
    touched: set[str | None] = set()
    for path in adapters:
        with open_adapter(path, family) as adapter:
            touched |= {family.block_of_module(name) for name in adapter.modules}
    fits = touched <= {*family.short_blocks, None}
    return f"{len(family.short_blocks if fits else family.long_blocks)}ALL"
