"""The cure of a real LoRA that was trained without pictures of other people: the last epoch in tests/data."""

from __future__ import annotations

from pathlib import Path

import pytest

import loralathe
from loralathe.demo import family_scorers, unpack_family
from loralathe.demo.settings import BASE_A, CFG, NEGATIVE, PEOPLE, SCENES

EPOCH = Path(__file__).parents[1] / "data/epochs/hina-000120.safetensors"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_half_of_the_bleed_goes_and_the_likeness_stays(tmp_path: Path) -> None:
    unpack_family(tmp_path)
    found = loralathe.cure(
        tmp_path / BASE_A,
        EPOCH,
        scorers=family_scorers(),
        trigger="hina",
        prompt=f"hina, {SCENES[0]}",
        also=[f"hina, {scene}" for scene in SCENES[1:3]],
        people=PEOPLE[:2],
        negative=NEGATIVE,
        cfg=CFG,
        steps=6,
        seed=1,
        watch=4,
        refine=30,
        most_seeds=4,
        check_seeds=6,
        output=tmp_path / "cured.safetensors",
        device="cpu",
    )
    assert found.file is not None
    assert found.report.check is not None
    names = [name for name, _ in found.report.goals]
    before, after = (
        {name: value.mean for name, value in zip(names, side, strict=True) if value is not None}
        for side in (found.report.check.before, found.report.check.after)
    )
    assert before["bleed"] > 0.15
    assert after["bleed"] < before["bleed"] / 2
    assert after["likeness"] > before["likeness"] - 0.05
