"""`everywhere` on the tiny family, on four bases: it goes on, and its recipes make what it showed."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

import loralathe
from demo.conftest import PACKAGED
from loralathe.cli import lathe
from loralathe.demo import family_scorers
from loralathe.demo.family import find_family, unpack_family
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.studies.everywhere import EverywhereReport

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
PROMPT = "hina, smiling, navy shirt, forest"
PICTURE = {"steps": 4, "cfg": 4, "size": "128x128", "device": "cpu"}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bases in `bases`, with one that is half A and half B, and one that has only B's output blocks."""
    folder = tmp_path_factory.mktemp("family")
    unpack_family(folder, find_family(PACKAGED))
    bases = folder / "bases"
    bases.mkdir()
    inputs = {name: folder / f"base{name}.safetensors" for name in "AB"}
    for path in inputs.values():
        shutil.copy(path, bases)
    loralathe.evaluate("0.5*A + 0.5*B", inputs, output=bases / "half.safetensors", threads=1)
    loralathe.evaluate("A + (B - A)@OUTALL", inputs, output=bases / "outputs.safetensors", threads=1)
    return folder


def search(family: Path, out: Path, **changes: object) -> EverywhereReport:
    keywords: dict[str, object] = {
        "bases": [family / "bases"],
        "sweep": ["hina unet = 0.6, 0.9, 1.2", "hina OUT00-OUT05 = 0.7, 1"],
        "prompt": PROMPT,
        "scorers": family_scorers(PACKAGED),
        "likeness": "is hina",
        "trigger": "hina",
        "budget": 24,
        "check_seeds": 2,
        "seed": 5,
        "batch": 3,
        "output": out,
    }
    return loralathe.everywhere(family / "hina.safetensors", **{**keywords, **PICTURE, **changes})


@pytest.fixture(scope="module")
def searched(family: Path, tmp_path_factory: pytest.TempPathFactory) -> EverywhereReport:
    return search(family, tmp_path_factory.mktemp("out") / "whole")


def facts(report: EverywhereReport) -> list[dict[str, object]]:
    """What is told of each base, but for its time and where the study lies."""
    told = (report.folder / "everywhere.json").read_text(encoding="utf-8").replace(str(report.folder), "")
    return [
        {name: value for name, value in one.items() if name != "seconds"} for one in json.loads(told)["bases"]
    ]


def pixels(path: Path) -> NDArray[np.int64]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64)


def test_every_base_has_its_values(searched: EverywhereReport) -> None:
    assert searched.names == ("baseA", "baseB", "half", "outputs")
    for one in searched.bases:
        assert not one.left_out
        assert one.report is not None
        assert one.report.pictures <= 24
        assert one.values[0] is not None
        assert one.values[0].mean > 0.5, "it is Hina on every base of her family"
    assert len({repr(one.report.check) for one in searched.bases if one.report}) == 4, "bases are not alike"


def test_what_was_stopped_goes_on_to_the_same_end(
    family: Path, searched: EverywhereReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, limit, drawn = tmp_path / "part", 36, 0
    render = LocalRenderer.render

    def counted(self: LocalRenderer, requests: Iterable[ImageRequest], save: Callable[..., None]) -> None:
        def one(*words: object) -> None:
            nonlocal drawn
            if drawn == limit:
                raise KeyboardInterrupt
            drawn += 1
            save(*words)

        render(self, requests, one)

    monkeypatch.setattr(LocalRenderer, "render", counted)
    with pytest.raises(KeyboardInterrupt):
        search(family, part)
    assert json.loads((part / "everywhere.json").read_bytes())["bases"], "the page shows what there is"
    limit = 10**6
    again = search(family, part)
    assert drawn == sum(one.report.pictures for one in searched.bases if one.report), "none is drawn twice"
    assert facts(again) == facts(searched)
    for one, other in zip(again.bases, searched.bases, strict=True):
        first, second = (found.folder / "recommended.toml" for found in (one, other))
        assert first.read_text(encoding="utf-8") == second.read_text(encoding="utf-8")
        assert one.pictures[0] is not None
        assert other.pictures[0] is not None
        assert (pixels(one.pictures[0]) == pixels(other.pictures[0])).all()


def seed_of(one: loralathe.studies.everywhere.OnBase) -> int:
    assert one.report is not None
    assert one.report.check is not None
    return one.report.check.seeds[0]


def test_every_command_draws_the_picture_of_the_page(searched: EverywhereReport, tmp_path: Path) -> None:
    for one in searched.bases:
        assert one.report is not None
        assert one.report.final is not None
        assert one.report.final.whole
        assert one.pictures[0] is not None
        made = tmp_path / f"{one.base.stem}.png"
        words = shlex.split(one.report.final.render)[1:]
        result = CliRunner().invoke(lathe, [*words, "-o", str(made)])
        assert result.exit_code == 0, result.output
        assert (pixels(made) == pixels(one.pictures[0])).all()


def remade(one: loralathe.studies.everywhere.OnBase, tmp_path: Path) -> NDArray[np.int64]:
    """The picture of the page by its recipe: the model written, twice the same, and drawn."""
    files = [tmp_path / f"{one.base.stem}-{number}.safetensors" for number in (1, 2)]
    for file in files:
        loralathe.run(one.folder / "recommended.toml", output=file, threads=1)
    assert files[0].read_bytes() == files[1].read_bytes()
    (picture,) = loralathe.render(
        files[0], prompt=PROMPT, seed=seed_of(one), output=tmp_path / f"{one.base.stem}.png", **PICTURE
    )
    return pixels(picture)


def test_every_recipe_makes_the_very_pixels_of_the_page(searched: EverywhereReport, tmp_path: Path) -> None:
    """Although the search draws in batches, with the LoRA beside the model."""
    for one in searched.bases:
        assert one.pictures[0] is not None
        assert (remade(one, tmp_path) == pixels(one.pictures[0])).all()


def test_what_was_given_is_drawn_as_its_file_too(
    family: Path, searched: EverywhereReport, tmp_path: Path
) -> None:
    one = searched.bases[0]
    assert one.pictures[1] is not None
    made = tmp_path / "given.safetensors"
    loralathe.merge(one.base, family / "hina.safetensors", output=made, threads=1)
    (picture,) = loralathe.render(
        made, prompt=PROMPT, seed=seed_of(one), output=tmp_path / "given.png", **PICTURE
    )
    assert (pixels(picture) == pixels(one.pictures[1])).all()


def test_recipes_with_a_difference_make_the_very_pixels(family: Path, tmp_path: Path) -> None:
    report = search(
        family, tmp_path / "out", bases=[family / "bases/half.safetensors"], sweep=(), difference=True,
        source=family / "baseA.safetensors",
    )  # fmt: skip
    (one,) = report.bases
    assert one.report is not None
    assert list(one.report.axes) == ["strength", "M", "IN04_IN08", "MID", "OUT00_OUT05"]
    assert one.pictures[0] is not None
    assert (remade(one, tmp_path) == pixels(one.pictures[0])).all()
