"""A cure of the family's LoRA that was trained on one person: she stays, others are left alone more."""

from __future__ import annotations

from pathlib import Path

import pytest

import loralathe
from demo.conftest import PACKAGED
from demo.test_epochs import EPOCHS
from loralathe.demo import family_scorers
from loralathe.demo.family import find_family, unpack_family
from loralathe.demo.settings import BASE_A, SCENES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_her_likeness_stays_and_bleed_falls(tmp_path: Path) -> None:
    """Some three minutes of one core: 164 pictures of 6 steps."""
    unpack_family(tmp_path, find_family(PACKAGED))
    made = loralathe.cure(
        tmp_path / BASE_A,
        EPOCHS[-1],
        trigger="hina",
        prompt=f"hina, {SCENES[0]}",
        also=[f"hina, {SCENES[4]}"],
        people=["1boy, brown hair, forest"],
        scorers=family_scorers(PACKAGED),
        likeness="is hina",
        steps=6,
        cfg=4,
        size="128x128",
        device="cpu",
        seed=5,
        watch=6,
        first_seeds=4,
        most_seeds=8,
        check_seeds=12,
        output=tmp_path / "cured.safetensors",
    )
    found = made.report
    assert made.file is not None
    assert any(found.levels)
    assert found.check is not None
    likeness, bleed, *_ = found.check.differences
    assert likeness is not None
    assert likeness.high is not None
    assert likeness.high > -found.keep, "not surely more is lost than may be"
    assert bleed is not None
    assert bleed.high is not None
    assert bleed.high < 0, "surely less"
    assert [path.name for path in found.files] == ["cure.json", "cure.html", "cure.png"]
    assert all(one.after is not None and one.before is not None for one in found.blocks)
    assert sum(one.after for one in found.blocks) < sum(one.before for one in found.blocks)  # type: ignore[misc]
