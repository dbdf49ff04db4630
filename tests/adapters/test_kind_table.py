"""docs/loras.md: its tables of kinds, dialects and families are what `kind_table` finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters import kind_table
from adapters.kind_table import DIALECTS_OF, FAMILIES_OF, KINDS, in_chinese, rows_under
from adapters.samples import Model, kinds_read, label, model
from loralathe.families import FAMILIES, Family
from loralathe.families.sd1 import SD1

TEXT = kind_table.DOCS.read_text(encoding="utf-8")


def firsts(head: str) -> list[str]:
    return [row.split(" | ")[0].removeprefix("| ") for row in rows_under(TEXT, head)]


def test_every_kind_and_family_has_a_line() -> None:
    assert firsts(KINDS) == [label(kind) for kind in kinds_read()]
    assert firsts(DIALECTS_OF) == firsts(FAMILIES_OF) == [family.label for family in FAMILIES]


def test_the_chinese_page_has_the_same_tables() -> None:
    chinese = kind_table.CHINESE.read_text(encoding="utf-8")
    for head in (KINDS, DIALECTS_OF, FAMILIES_OF):
        assert rows_under(chinese, in_chinese(head)) == [in_chinese(row) for row in rows_under(TEXT, head)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model(SD1, tmp_path_factory.mktemp("base"))


@pytest.mark.quick(3)
@pytest.mark.parametrize("kind", kinds_read())
def test_what_is_ticked_works(kind: str, base: Model, tmp_path: Path) -> None:
    assert kind_table.kind_row(kind, base, tmp_path) in rows_under(TEXT, KINDS)


def _id(family: Family) -> str:
    return family.id


@pytest.mark.quick(4)
@pytest.mark.parametrize("family", FAMILIES, ids=_id)
def test_each_family_in_each_dialect(family: Family) -> None:
    assert kind_table.dialect_row(family) in rows_under(TEXT, DIALECTS_OF)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=_id)
def test_each_kind_with_each_family(family: Family, tmp_path: Path) -> None:
    assert kind_table.family_row(family, tmp_path) in rows_under(TEXT, FAMILIES_OF)


@pytest.mark.long
def test_the_smallest_family_with_each_kind(tmp_path: Path) -> None:
    """The quick part of the one above."""
    smallest = next(family for family in FAMILIES if family.id == "klein4b")
    assert kind_table.family_row(smallest, tmp_path) in rows_under(TEXT, FAMILIES_OF)
