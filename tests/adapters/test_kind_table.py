"""docs/loras.md: the table of kinds is what `kind_table` finds by running each cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters import kind_table

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "loras.md").read_text(encoding="utf-8")


def told() -> list[str]:
    """The lines of the table in the docs."""
    lines = TEXT.splitlines()
    start = lines.index(kind_table.HEAD)
    end = next(number for number in range(start, len(lines)) if not lines[number].startswith("|"))
    return lines[start + 2 : end]


def test_every_kind_has_a_line() -> None:
    labels = [kind_table.adapter_kinds()[kind].label for kind in kind_table.kinds_read()]
    assert [line.split(" | ")[0].removeprefix("| ") for line in told()] == labels


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kind_table.model(tmp_path_factory.mktemp("base"))


@pytest.mark.quick(3)
@pytest.mark.parametrize("kind", kind_table.kinds_read())
def test_what_is_ticked_works(kind: str, base: Path, tmp_path: Path) -> None:
    assert kind_table.row(kind, base, tmp_path) in told()
