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
PICTURE = {"steps": 4, "cfg": 4, "size": "128x128", "device": "cpu", "batch": 1}
"""One at a time: in a batch, sums are added in another order, which shows in a few values by 1 of 255."""


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
        "output": out,
    }
    return loralathe.everywhere(family / "hina.safetensors", **{**keywords, **PICTURE, **changes})


@pytest.fixture(scope="module")
def searched(family: Path, tmp_path_factory: pytest.TempPathFactory) -> EverywhereReport:
    return search(family, tmp_path_factory.mktemp("out") / "whole")


def facts(report: EverywhereReport) -> list[dict[str, object]]:
    """What is told of each base, but for its time."""
    told = json.loads((report.folder / "everywhere.json").read_bytes())["bases"]
    return [{name: value for name, value in one.items() if name != "seconds"} for one in told]


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
        assert one.best is not None
        assert one.pictures[0] is not None
        words = shlex.split(one.best.render)[1:]
        words[words.index("--seed") + 1] = str(seed_of(one))
        made = tmp_path / f"{one.base.stem}.png"
        result = CliRunner().invoke(lathe, [*words, "--device", "cpu", "-o", str(made)])
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


def test_every_recipe_makes_the_model_of_the_page(searched: EverywhereReport, tmp_path: Path) -> None:
    """The page's pictures have the LoRA beside the model; the file has both in the model's own dtype."""
    for one in searched.bases:
        assert one.pictures[0] is not None
        off = np.abs(remade(one, tmp_path) - pixels(one.pictures[0]))
        assert off.max() <= 2
        assert (off > 0).mean() < 0.05


def test_recipes_with_a_difference_make_the_very_pixels(family: Path, tmp_path: Path) -> None:
    """There the pictures are those of the file, rounding and all."""
    report = search(
        family, tmp_path / "out", bases=[family / "bases/half.safetensors"], sweep=(), difference=True,
        source=family / "baseA.safetensors",
    )  # fmt: skip
    (one,) = report.bases
    assert one.report is not None
    assert list(one.report.axes) == ["strength", "M", "IN04_IN08", "MID", "OUT00_OUT05"]
    assert one.pictures[0] is not None
    assert (remade(one, tmp_path) == pixels(one.pictures[0])).all()
