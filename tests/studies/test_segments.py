"""Segments in a world whose truth is known: what each block does, and two that do each other's work."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loralathe.errors import InputError
from loralathe.families import family_by_id
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse, read_block_text
from loralathe.studies.analyzer import BlocksOptions
from loralathe.studies.context import Context
from loralathe.studies.segments.search import SegmentsOptions, find_segments, plan_segments
from studies.fakes import FakeRenderer

Truth = Callable[[dict[str, float]], float]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


def sdxl(weights: dict[str, float]) -> float:
    """OUT00 does most, IN04 half as much, and MID what BASE does as well: one of them is enough."""
    return 0.4 * weights["OUT00"] + 0.2 * weights["IN04"] + 0.2 * max(weights["MID"], weights["BASE"])


def flux(weights: dict[str, float]) -> float:
    return 0.3 * weights["D07"] + 0.2 * weights["S20"]


class LightIsLike:
    """A card: likeness is how light a picture is."""

    def likeness(self, images: Sequence[Image.Image]) -> list[float | None]:
        return [image.getpixel((0, 0))[0] / 255 for image in images]

    def alike(self, pairs: Sequence[tuple[Image.Image, Image.Image]]) -> list[float | None]:
        raise AssertionError("not asked for")


def world(family: str, truth: Truth, stop_after: int | None = None) -> FakeRenderer:
    def draw(request: ImageRequest) -> Image.Image:
        (use,) = request.adapters
        known = family_by_id(family)
        found = dict(read_block_text(use.blocks, known).values)
        rest = float(found.pop("*", "1"))
        weights = {block: float(found.get(block, rest)) for block in known.long_blocks}
        digest = hashlib.sha256(repr(request).encode()).digest()
        noise = np.random.default_rng(list(digest)).normal(0, 0.01)
        shared = np.random.default_rng(request.seed).normal(0, 0.05)
        light = round(255 * float(np.clip(0.15 + truth(weights) + noise + shared, 0, 1)))
        return Image.new("RGB", (request.width, request.height), (light, light, light))

    return FakeRenderer(draw, stop_after)


def options(folder: Path, family: str = "sdxl", blocks: str = "12ALL", **changes: object) -> SegmentsOptions:
    request = ImageRequest(
        "a.safetensors",
        prompt="hina",
        seed=3,
        width=16,
        height=16,
        adapters=(AdapterUse("hina.safetensors"),),
    )
    context = Context(family=family_by_id(family))
    return SegmentsOptions(
        BlocksOptions(request, folder, blocks=blocks, context=context),
        card=LightIsLike(),
        **changes,  # type: ignore[arg-type]
    )


def test_it_finds_the_blocks_that_matter_and_pairs_that_compensate(tmp_path: Path) -> None:
    report = find_segments(options(tmp_path), world("sdxl", sdxl))
    by_name = {one.name: one for one in report.segments}
    assert report.segments[0].name == "OUT00"
    assert by_name["OUT00"].value.mean == pytest.approx(0.4, abs=0.03)
    assert by_name["IN04"].value.mean == pytest.approx(0.2, abs=0.03)
    assert by_name["MID"].alone.mean == pytest.approx(0.2, abs=0.03)
    assert by_name["MID"].without.mean == pytest.approx(0.0, abs=0.03), "BASE does it as well"
    (pair,) = [pair for pair in report.pairs if pair.is_sure]
    assert {pair.one, pair.other} == {"MID", "BASE"}
    assert pair.extra.mean == pytest.approx(0.2, abs=0.04)
    assert by_name["OUT00"].weight == 1
    assert report.weights_list is not None
    weights = dict(zip(_blocks(), report.weights_list.split(","), strict=True))
    assert weights["OUT00"] == "1"
    assert float(weights["OUT05"]) <= 0.1
    assert report.order_is_certain
    assert any(len(one.blocks) > 1 for one in report.segments), "what does nothing is left whole"


def _blocks() -> tuple[str, ...]:
    return family_by_id("sdxl").short_blocks


def test_a_transformer_of_many_blocks_takes_few_pictures(tmp_path: Path) -> None:
    """57 blocks of Flux: two that matter are found with fewer pictures than one for each block and seed."""
    drawn = world("flux", flux)
    report = find_segments(options(tmp_path, "flux", ""), drawn)
    assert [one.name for one in report.segments[:2]] == ["D07", "S20"]
    blocks = len(family_by_id("flux").long_blocks)
    assert report.blocks == blocks
    assert len(drawn.rendered) == report.pictures < 2 * 2 * blocks


def test_without_a_card_change_is_what_counts(tmp_path: Path) -> None:
    from dataclasses import replace

    def steps(weights: dict[str, float]) -> float:
        return 0.4 * weights["OUT00"]

    report = find_segments(replace(options(tmp_path), card=None), world("sdxl", steps))
    assert report.segments[0].blocks == ("OUT00",)
    assert not report.likeness
    assert report.segments[0].value.mean == pytest.approx(1, abs=0.01), "every colour value changes"


def test_it_goes_on_where_it_was_and_is_told_as_files(tmp_path: Path) -> None:
    whole = find_segments(options(tmp_path / "a"), world("sdxl", sdxl))
    with pytest.raises(KeyboardInterrupt):
        find_segments(options(tmp_path / "b"), world("sdxl", sdxl, stop_after=20))
    rest = world("sdxl", sdxl)
    again = find_segments(options(tmp_path / "b"), rest)
    assert len(rest.rendered) == whole.pictures - 20
    assert [one.name for one in again.segments] == [one.name for one in whole.segments]
    found = json.loads((tmp_path / "b" / "segments.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in found["segments"]] == [one.name for one in whole.segments]
    assert "reportView" in (tmp_path / "b" / "segments.html").read_text(encoding="utf-8")
    with open(tmp_path / "b" / "segments.csv", encoding="utf-8-sig") as file:
        assert len(file.readlines()) == 1 + len(whole.segments)


def test_a_plan_and_mistakes(tmp_path: Path) -> None:
    plan = plan_segments(options(tmp_path))
    assert [len(cut) for cut in plan.cuts] == [1, 4, 1, 6]
    assert plan.pictures == 2 * (2 + 2 * 4)
    with pytest.raises(InputError, match="one block"):
        plan_segments(options(tmp_path, blocks="MID"))
    with pytest.raises(InputError, match="2 seeds at least"):
        plan_segments(options(tmp_path, first=1))
