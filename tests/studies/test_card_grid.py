"""A grid by an identity card: likeness, bleed, means over seeds, differences to the reference, diversity."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from loralathe.errors import InputError
from loralathe.families import family_by_id
from loralathe.likeness.card import Card, card_of
from loralathe.likeness.preparation import Preparation
from loralathe.likeness.vectors import Vector, unit
from loralathe.rendering.request import ImageRequest
from loralathe.studies.analyzer import BlocksOptions, analyze_blocks
from loralathe.studies.bleed import without_trigger
from loralathe.studies.context import Context
from loralathe.studies.grid import GridOptions, run_grid
from loralathe.studies.over_seeds import diversity
from loralathe.studies.store import CellStore
from studies.fakes import FakeRenderer, picture, request, use
from studies.test_axes import FakeRecipe
from studies.test_grid import page_data


@dataclass
class Colours:
    """An embedder: the mean colour around grey; a picture that is mostly black shows nobody."""

    model: Path
    kind: ClassVar = "picture"
    detector: ClassVar = None
    preparation: ClassVar = Preparation()

    def check(self) -> None:
        return

    def vectors(self, images: Sequence[Image.Image]) -> list[Vector | None]:
        means = [np.asarray(image.convert("RGB"), dtype=np.float32).mean((0, 1)) for image in images]
        return [None if mean.max() < 20 else unit(mean - 128) for mean in means]


HINA = np.array([220.0, 90, 160])


def drawn(wanted: ImageRequest) -> Image.Image:
    """Her colour as far as the LoRA is strong and she is called, else a tenth of it; noise by the seed."""
    strength = sum(one.unet for one in wanted.adapters)
    share = strength * (1 if "hina" in wanted.prompt else 0.1)
    rng = np.random.default_rng([wanted.seed, len(wanted.prompt)])
    somebody = rng.uniform(20, 235, 3)
    colour = somebody + (HINA - somebody) * min(share, 1) + rng.normal(0, 5, 3)
    noise = rng.normal(0, 8, (wanted.height, wanted.width, 3))
    return Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8))


@pytest.fixture
def card(tmp_path: Path) -> Card:
    (tmp_path / "eye.bin").write_bytes(b"eye")
    asked = [request(prompt="hina", seed=seed, adapters=(use(strength=0.9),)) for seed in range(4)]
    embedder = Colours(tmp_path / "eye.bin")
    return card_of(embedder, ["a", "b", "c", "d"], [drawn(one) for one in asked], trigger="hina")


def options(folder: Path, card: Card | None, **changes: object) -> GridOptions:
    base = GridOptions(
        request(prompt="hina, smile"),
        folder / "grid",
        x="hina = 0, 0.5, 1",
        y="seed = 1-4",
        preview_seconds=0,
        card=card,
        scorers=(),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_every_cell_has_its_likeness(tmp_path: Path, card: Card) -> None:
    result = run_grid(options(tmp_path, card), FakeRenderer(drawn))
    for cell in result.cells:
        assert cell.scores == {
            "likeness": pytest.approx(card.likeness([drawn(cell.cell.request)])[0], abs=1e-6)
        }
    rows = list(csv.DictReader((tmp_path / "grid/results.csv").read_text("utf-8-sig").splitlines()))
    assert [float(row["likeness"]) for row in rows] == pytest.approx(
        [cell.scores["likeness"] for cell in result.cells], abs=1e-5
    )
    data = page_data((tmp_path / "grid/grid.html").read_text("utf-8"))
    assert data["chosen"] == ["likeness"]
    assert [cell["scores"]["likeness"] for cell in data["cells"]] == [
        one.scores["likeness"] for one in result.cells
    ]


def test_means_over_seeds_are_students(tmp_path: Path, card: Card) -> None:
    result = run_grid(options(tmp_path, card), FakeRenderer(drawn))
    at = {cell.cell.position: cell.scores["likeness"] for cell in result.cells}
    assert [group.cells for group in result.groups] == [tuple((x, y, 0) for y in range(4)) for x in range(3)]
    assert [group.seeds for group in result.groups] == [(1, 2, 3, 4)] * 3
    for group in result.groups:
        values = np.array([at[position] for position in group.cells])
        low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
        found = group.scores["likeness"]
        assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high))
        differences = values - np.array([at[0, y, 0] for y in range(4)])
        if group.cells[0][0] == 0:
            assert group.against == {}
        else:
            low, high = stats.t.interval(0.95, 3, differences.mean(), stats.sem(differences))
            paired = group.against["likeness"]
            assert (paired.mean, paired.low, paired.high) == pytest.approx((differences.mean(), low, high))
        rows = card.vectors([drawn(result.plan.cell(position).request) for position in group.cells])
        apart = [1 - float(a @ b) for a, b in combinations(rows, 2)]  # type: ignore[operator]
        assert group.diversity == pytest.approx(np.mean(apart), abs=1e-6)


def test_means_are_in_the_files(tmp_path: Path, card: Card) -> None:
    result = run_grid(options(tmp_path, card), FakeRenderer(drawn))
    assert (tmp_path / "grid/means.csv") in result.files
    rows = list(csv.DictReader((tmp_path / "grid/means.csv").read_text("utf-8-sig").splitlines()))
    assert [row["hina"] for row in rows] == ["0", "0.5", "1"]
    assert [row["pictures"] for row in rows] == ["4"] * 3
    last, group = rows[-1], result.groups[-1]
    assert float(last["likeness"]) == pytest.approx(group.scores["likeness"].mean, rel=1e-5)
    assert float(last["likeness against low"]) == pytest.approx(group.against["likeness"].low, rel=1e-5)
    assert float(last["diversity"]) == pytest.approx(group.diversity, rel=1e-5)
    assert rows[0]["likeness against"] == ""
    stored = json.loads((tmp_path / "grid/results.json").read_text())["groups"]
    assert stored[2]["scores"]["likeness"]["mean"] == group.scores["likeness"].mean
    data = page_data((tmp_path / "grid/grid.html").read_text("utf-8"))
    assert [one["labels"] for one in data["groups"]] == [{"hina": label} for label in ("0", "0.5", "1")]


def test_without_seeds_there_are_no_means(tmp_path: Path, card: Card) -> None:
    run_grid(options(tmp_path, card), FakeRenderer(drawn))
    result = run_grid(options(tmp_path, card, y="", force=True), FakeRenderer(drawn))
    assert result.groups == ()
    assert not (tmp_path / "grid/means.csv").exists()
    assert "groups" not in json.loads((tmp_path / "grid/results.json").read_text())


def test_bleed_compares_the_base_with_the_lora_without_the_trigger(tmp_path: Path, card: Card) -> None:
    renderer = FakeRenderer(drawn)
    result = run_grid(options(tmp_path, card, bleed=True), renderer)
    assert result.rendered == len(renderer.rendered) == 12 + 12 + 4, "a base for each seed, shared"
    for cell in result.cells:
        asked = replace(cell.cell.request, prompt="smile")
        base, adapted = card.vectors([drawn(replace(asked, adapters=())), drawn(asked)])
        assert base is not None
        assert adapted is not None
        assert cell.scores["bleed"] == pytest.approx(1 - float(base @ adapted), abs=1e-6)
    assert all(
        cell.scores["bleed"] == pytest.approx(0, abs=1e-6)
        for cell in result.cells
        if cell.cell.labels[0] == "0"
    )
    means = [group.scores["bleed"].mean for group in result.groups]
    assert means[0] < means[1] < means[2]
    again = FakeRenderer(drawn)
    run_grid(options(tmp_path, card, bleed=True), again)
    assert again.rendered == [], "pictures beside the cells are kept, too"


def test_bleed_of_a_recipe_is_against_the_reference(tmp_path: Path, card: Card) -> None:
    recipe = FakeRecipe()
    made: list[str] = []

    def of_recipe(wanted: ImageRequest) -> Image.Image:
        made.append(wanted.prompt)
        shift = float(wanted.checkpoint.partition("M=")[2].partition(",")[0])
        return drawn(replace(wanted, adapters=(use(strength=shift),)))

    grid = options(
        tmp_path,
        card,
        request=request(prompt="hina, smile", adapters=()),
        x="M = 0, 0.7",
        y="seed = 1-3",
        context=Context(recipe=recipe),
        bleed=True,
    )
    result = run_grid(grid, FakeRenderer(of_recipe))
    assert made.count("smile") == 6, "the reference's picture without the trigger is the base of its column"
    assert [cell.scores["bleed"] for cell in result.cells if cell.cell.labels[0] == "0"] == pytest.approx(
        [0] * 3
    )


def test_bleed_needs_a_card_with_trigger_words(tmp_path: Path, card: Card) -> None:
    renderer = FakeRenderer(drawn)
    with pytest.raises(InputError, match="needs an identity card"):
        run_grid(options(tmp_path, None, bleed=True), renderer)
    with pytest.raises(InputError, match="names no trigger words"):
        run_grid(options(tmp_path, replace(card, trigger=""), bleed=True), renderer)
    assert renderer.rendered == []


def test_nobody_in_a_picture_is_no_number(tmp_path: Path, card: Card) -> None:
    def black(wanted: ImageRequest) -> Image.Image:
        return picture(wanted).point(lambda value: value // 20) if wanted.seed == 2 else drawn(wanted)

    def lost(wanted: ImageRequest) -> Image.Image:
        nobody = bool(wanted.adapters) and wanted.prompt == "smile"
        return Image.new("RGB", (32, 48)) if nobody else drawn(wanted)

    result = run_grid(options(tmp_path, card, bleed=True), FakeRenderer(black))
    for cell in result.cells:
        assert (cell.scores["likeness"] is None) == (cell.cell.request.seed == 2)
        assert (cell.scores["bleed"] is None) == (cell.cell.request.seed == 2)
    gone = run_grid(options(tmp_path / "gone", card, bleed=True), FakeRenderer(lost))
    found = {cell.scores["bleed"] for cell in gone.cells if cell.cell.labels[0] == "1"}
    assert found == {1.0}, "the base's people are gone"
    assert all(len(group.scores["likeness"].values) == 3 for group in result.groups)


@pytest.mark.parametrize(
    ("prompt", "trigger", "left"),
    [
        ("hina, smile", "hina", "smile"),
        ("a girl, HINA, smile", "hina", "a girl, smile"),
        ("a photo of hina in a forest", "hina", "a photo of in a forest"),
        ("(hina:1.2), smile", "hina", "smile"),
        ("((hina)), [hina], smile", "hina", "smile"),
        ("hinata, smile", "hina", "hinata, smile"),
        ("smile,  hat", "hina", "smile,  hat"),
        ("hina  girl, smile", "hina girl", "smile"),
        ("hina, star pin, smile", "hina, star pin", "smile"),
        ("陽菜在森林裡", "陽菜", "在森林裡"),
        ("hina", "hina", ""),
        ("(smile:1.2), hina", "hina", "(smile:1.2)"),
    ],
)
def test_trigger_words_are_taken_out(prompt: str, trigger: str, left: str) -> None:
    assert without_trigger(prompt, trigger) == left


def test_diversity_needs_two() -> None:
    one = np.array([1, 0], np.float32)
    assert diversity([one, None]) is None
    assert diversity([one, one, np.array([0, 1], np.float32)]) == pytest.approx(2 / 3)


def test_no_picture_is_looked_at_twice(tmp_path: Path, card: Card) -> None:
    looked: list[int] = []

    class Counting(Colours):
        def vectors(self, images: Sequence[Image.Image]) -> list[Vector | None]:
            looked.append(len(images))
            return super().vectors(images)

    counting = replace(card, embedder=Counting(card.embedder.model))
    first = run_grid(options(tmp_path, counting, bleed=True), FakeRenderer(drawn))
    assert sum(looked) == 12 + 12 + 4
    looked.clear()
    again = run_grid(options(tmp_path, counting, bleed=True), FakeRenderer(drawn))
    assert looked == []
    assert [cell.scores for cell in again.cells] == [cell.scores for cell in first.cells]
    run_grid(
        options(tmp_path, counting, bleed=True, x="hina = 0, 0.5, 1, 2", force=True), FakeRenderer(drawn)
    )
    assert sum(looked) == 8, "only the new column, and its pictures without the trigger"
    looked.clear()
    (kept,) = (tmp_path / "grid").glob("vectors-*.cache")
    for broken in (b"", kept.read_bytes()[:-4], b"x" * 300):
        kept.write_bytes(broken)
        again = run_grid(options(tmp_path, counting, bleed=True, force=True), FakeRenderer(drawn))
        assert [cell.scores for cell in again.cells] == [cell.scores for cell in first.cells]
    looked.clear()
    (tmp_path / "eye.bin").write_bytes(b"another eye")
    other = replace(counting, model=replace(card.model, sha256="0" * 64))
    run_grid(options(tmp_path, other, force=True), FakeRenderer(drawn))
    assert sum(looked) == 12, "another model sees something else"


def test_a_picture_that_changed_is_looked_at_again(tmp_path: Path, card: Card) -> None:
    first = run_grid(options(tmp_path, card), FakeRenderer(drawn))
    path = tmp_path / "grid" / first.cells[-1].file
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    again = run_grid(options(tmp_path, card), FakeRenderer(drawn))
    assert again.cells[-1].scores["likeness"] == pytest.approx(-first.cells[-1].scores["likeness"], abs=0.05)
    assert again.cells[0].scores == first.cells[0].scores


def test_blocks_by_a_card_are_differences_to_the_source(tmp_path: Path, card: Card) -> None:
    """Each block's pictures against the sources of their seeds; in the table, the files and on the page."""

    def by_blocks(wanted: ImageRequest) -> Image.Image:
        text = wanted.adapters[0].blocks or ""
        strength = 0.8 - 0.3 * ("IN05=0" in text) - 0.6 * ("OUT00=0" in text)
        return drawn(replace(wanted, prompt="hina", adapters=(use(strength=strength),)))

    study = BlocksOptions(
        request(width=48, height=88),
        tmp_path / "blocks",
        context=Context(family=family_by_id("sdxl")),
        blocks="IN04,IN05,OUT00",
        range="0,1",
        seeds=3,
        card=card,
    )
    report = analyze_blocks(study, FakeRenderer(by_blocks))
    store = CellStore(tmp_path / "blocks")
    sources = np.array(card.likeness([store.open(key) for key in report.sources]), float)
    assert report.likeness is not None
    assert report.likeness.mean == pytest.approx(sources.mean())
    rows = list(csv.DictReader((tmp_path / "blocks/blocks.csv").read_text("utf-8-sig").splitlines()))
    data = page_data((tmp_path / "blocks/blocks.html").read_text("utf-8"))
    for effect, row, shown in zip(report.effects, rows, data["effects"], strict=True):
        tests = np.array(card.likeness([store.open(key) for key in effect.keys]), float)
        low, high = stats.t.interval(0.95, 2, (tests - sources).mean(), stats.sem(tests - sources) or 1e-300)
        found = effect.likeness
        assert found is not None
        assert (found.mean, found.low, found.high) == pytest.approx(
            ((tests - sources).mean(), low, high), abs=1e-9
        )
        assert float(row["likeness"]) == pytest.approx(found.mean, rel=1e-4, abs=1e-9)
        assert shown["likeness"]["mean"] == found.mean
    means = [effect.likeness.mean for effect in report.effects if effect.likeness]
    assert means[0] == 0
    assert 0 > means[1] > means[2]
