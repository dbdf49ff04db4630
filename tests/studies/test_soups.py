"""A soup found in a world whose truth is known: who joins, what it costs, that it goes on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from loralathe.errors import InputError
from loralathe.families import family_by_id
from loralathe.rendering.request import ImageRequest
from loralathe.studies.context import Context
from loralathe.studies.soups.report import Verdict
from loralathe.studies.soups.stir import SoupOptions, check_soup, stir
from loralathe.studies.tuning.goals import goals_of
from studies.fakes import FakeRenderer
from studies.test_grid import page_data
from studies.tuning.world import SCORERS

EPOCHS = ("hina-1.safetensors", "hina-2.safetensors", "hina-3.safetensors")
PLACES = dict(zip(EPOCHS, np.array([[0.6, 0.2], [0.2, 0.6], [1.0, 1.0]]), strict=True))
"""Each epoch is off the person in two directions, and a soup is as far off as its mean."""


def draw(request: ImageRequest) -> Image.Image:
    """Likeness falls with the distance of the mean; without the trigger word nothing changes but by style."""
    parts = [(PLACES[use.file], use.unet) for use in request.adapters if use.file in PLACES]
    total = sum(weight for _, weight in parts)
    assert not parts or total == pytest.approx(0.8)
    off = np.linalg.norm(sum(weight / total * place for place, weight in parts)) if parts else 1.0
    if request.adapters and not parts:
        off = 0.1  # the file that was written
    likeness = 0.9 - 0.5 * float(off) if "hina" in request.prompt else 0.1
    own = np.random.default_rng(list(hashlib.sha256(repr(request).encode()).digest())).normal(0, 0.01)
    shared = np.random.default_rng(request.seed).normal(0, 0.05)
    level = round(255 * float(np.clip(likeness + own + shared, 0, 1)))
    return Image.new("RGB", request.size, (level, 128, 0))


def options(folder: Path, **changes: object) -> SoupOptions:
    request = ImageRequest(checkpoint="baseA.safetensors", prompt="hina, a girl", seed=5, width=16, height=16)
    found = SoupOptions(
        request,
        folder,
        EPOCHS,
        goals_of((), scorers=SCORERS, plain=True),
        strength=0.8,
        triggers=("hina",),
        context=Context(family=family_by_id("sdxl")),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def test_an_epoch_joins_when_the_soup_gets_surely_better(tmp_path: Path) -> None:
    drawn = FakeRenderer(draw)
    report = stir(options(tmp_path), drawn, lambda mix: None)
    assert [step.verdict for step in report.steps] == [Verdict.JOINS, Verdict.WORSE]
    assert report.mix == (0.5, 0.5, 0.0)
    assert report.check is not None
    likeness, bleed, _ = report.check.differences
    assert likeness is not None
    assert likeness.mean == pytest.approx(0.5 * (np.hypot(0.6, 0.2) - np.hypot(0.4, 0.4)), abs=0.02)
    assert bleed is not None
    assert abs(bleed.mean) < 0.02
    assert report.pictures == report.rendered == len(drawn.rendered) <= options(tmp_path).most_pictures
    assert any("joins: likeness gets better by +" in text for text in report.sentences())
    assert any("likeness is better" in text for text in report.sentences())
    found = json.loads((tmp_path / "soup.json").read_text(encoding="utf-8"))
    assert [epoch["weight"] for epoch in found["epochs"]] == [0.5, 0.5, 0.0]
    with Image.open(tmp_path / "soup.png") as sheet:
        assert sheet.width > 32
    page: Any = page_data((tmp_path / "soup.html").read_text(encoding="utf-8"))
    assert page["command"] == 'lathe soup hina-1.safetensors hina-2.safetensors --weights "0.5,0.5"'
    assert [step["verdict"] for step in page["steps"]] == ["joins", "worse"]
    assert len(page["check"]["pictures"]) == 6
    assert (tmp_path / page["check"]["best_pictures"][0]).is_file()


def test_fresh_seeds_are_drawn_by_no_choice_and_the_written_file_is_looked_at(tmp_path: Path) -> None:
    drawn = FakeRenderer(draw)
    report = stir(options(tmp_path), drawn, lambda mix: tmp_path / "cut.safetensors")
    assert report.check is not None
    assert report.check.cut
    assert set(report.check.seeds) == set(range(5 + 24, 5 + 36))
    of_file = [one for one in drawn.rendered if any("cut" in use.file for use in one.adapters)]
    assert {one.seed for one in of_file} == set(report.check.seeds)


def test_weights_that_are_given_are_looked_at_and_not_changed(tmp_path: Path) -> None:
    report = stir(options(tmp_path, mix=(0.0, 0.5, 0.5)), FakeRenderer(draw), lambda mix: None)
    assert report.mix == (0.0, 0.5, 0.5)
    assert report.steps == ()
    assert any("likeness is worse" in text for text in report.sentences())


def test_where_nothing_is_sure_to_help_the_soup_is_the_best_epoch(tmp_path: Path) -> None:
    alike = options(tmp_path, epochs=(EPOCHS[0], EPOCHS[2]), most=8)
    report = stir(alike, FakeRenderer(draw), lambda mix: None)
    assert report.mix == (1.0, 0.0)
    assert report.check is None
    assert not (tmp_path / "soup.png").exists()
    assert report.sentences()[-1] == "No epoch is sure to help, so the soup is that epoch alone."


@pytest.mark.long
def test_it_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    whole = stir(options(tmp_path / "whole"), FakeRenderer(draw), lambda mix: None)
    part = options(tmp_path / "part")
    with pytest.raises(KeyboardInterrupt):
        stir(part, FakeRenderer(draw, stop_after=25), lambda mix: None)
    rest = FakeRenderer(draw)
    again = stir(part, rest, lambda mix: None)
    assert len(rest.rendered) == whole.pictures - 25
    assert again.mix == whole.mix
    assert again.sentences() == whole.sentences()


def test_mistakes_are_told_before_anything_is_rendered(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 seeds at least"):
        check_soup(options(tmp_path, first=8, most=4))
    with pytest.raises(InputError, match="not in the prompt"):
        check_soup(options(tmp_path, triggers=("mio",)))
    stir(options(tmp_path, most=4, check=0), FakeRenderer(draw), lambda mix: None)
    other = options(tmp_path, request=replace(options(tmp_path).request, prompt="hina, a boy"))
    assert check_soup(other)
    with pytest.raises(InputError, match="belongs to another study"):
        stir(other, FakeRenderer(draw), lambda mix: None)
