"""`lathe grid`: files, going on, adding values, recipes in memory, Ctrl-C."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cli.kit import Run
from cli_pictures.conftest import QUICK
from cli_pictures.test_render import pixels
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.studies.recipes import RecipeWeights
from studies.fakes import draw

GRID = ("grid", "baseA.safetensors", "hina.safetensors", "--prompt", "a girl", *QUICK)


def rows(folder: str) -> list[dict[str, str]]:
    with open(Path(folder) / "results.csv", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def same(file: str, cell: NDArray[np.int16]) -> bool:
    """Equal but for the last bit of fp32, which a batch may round the other way."""
    return bool(np.abs(pixels(file) - cell).max() <= 1)


def test_strengths_side_by_side(here: Path, done: Run) -> None:
    result = done(*GRID, "--x", "hina = 0, 0.5, 1", "--y", "seed = 1, 2")
    assert result.stdout == (
        "a grid of 6 cells\n"
        "  x           hina: 0, 0.5, 1\n"
        "  y           Seed: 1, 2\n"
        "  pictures    6 rendered\n"
        "  grid        baseA+hina-grid/grid.png\n"
        "  page        baseA+hina-grid/grid.html\n"
        "  numbers     baseA+hina-grid/results.csv, results.json\n"
    )
    watch = "watch baseA+hina-grid/grid.html: it shows the pictures as they are made"
    assert result.stderr == f"lathe: note: 6 cells\nlathe: note: {watch}\n"
    found = rows("baseA+hina-grid")
    assert [(row["hina"], row["Seed"]) for row in found][:4] == [
        ("0", "1"),
        ("0.5", "1"),
        ("1", "1"),
        ("0", "2"),
    ]
    done(
        "render",
        "baseA.safetensors",
        "hina.safetensors:0.5",
        "--prompt",
        "a girl",
        *QUICK,
        "--seed",
        2,
        "-o",
        "one.png",
    )
    assert same("one.png", pixels(Path("baseA+hina-grid") / found[4]["file"]))
    assert found[4]["command"] == "lathe merge baseA.safetensors hina.safetensors:0.5"


@pytest.mark.long
def test_it_goes_on_where_it_was(here: Path, done: Run) -> None:
    out = ("-o", "out", "--json")

    def rendered(*words: str) -> int:
        return int(json.loads(done(*GRID, *out, *words).stdout.splitlines()[-1])["rendered"])

    assert rendered("--x", "hina = 0, 1") == 2
    assert rendered("--x", "hina = 0, 1") == 0
    assert rendered("--x", "hina = 0, 0.5, 1") == 1
    assert rendered("--x", "hina = 0, 0.5, 1", "--redo", "2,1") == 1


def test_a_random_seed_is_drawn_once_for_the_folder(here: Path, done: Run) -> None:
    words = (*GRID, "--seed", "-1", "--x", "hina = 0, 1", "-o", "out")
    assert "2 rendered" in done(*words).stdout
    assert "0 rendered, 2 were there already" in done(*words).stdout


@pytest.mark.long
def test_a_recipe_is_swept_in_memory(here: Path, done: Run) -> None:
    before = set(here.iterdir())
    axes = ("--x", "M = -0.7..0.7 (+1.4)", "--y", "rank = 2, 4")
    done("grid", "--recipe", "article.toml", "--prompt", "a girl", *QUICK, *axes)
    assert set(here.iterdir()) - before == {here / "article-B2-grid"}
    found = rows("article-B2-grid")
    values = [("-0.7", "2"), ("0.7", "2"), ("-0.7", "4"), ("0.7", "4")]
    assert [(row["M"], row["rank"]) for row in found] == values
    columns = Path("article-B2-grid/results.csv").read_text("utf-8-sig").splitlines()[0].split(",")
    assert len(set(columns)) == len(columns)
    assert found[2]["command"] == "lathe run article.toml --set M=-0.7 --set rank=4"
    done(
        "run",
        "article.toml",
        "--set",
        "M=-0.7",
        "--set",
        "rank=4",
        "-o",
        "B2=b.safetensors",
        "-o",
        "lora2=l.safetensors",
    )
    done("render", "b.safetensors", "--prompt", "a girl", *QUICK, "-o", "one.png")
    assert same("one.png", pixels(Path("article-B2-grid") / found[2]["file"]))
    assert len({row["file"] for row in found}) == 4


@pytest.mark.parametrize("option", ["--dry-run", "--quiet"])
def test_a_value_that_the_recipe_cannot_take_is_told_first(here: Path, run: Run, option: str) -> None:
    words = ("grid", "--recipe", "article.toml", "--prompt", "girl", *QUICK, "--x", "rank = 4, 2.5")
    result = run(*words, "-o", "out", option)
    assert result.exit_code == 2
    assert "rank must be a whole number" in result.stderr
    assert not Path("out").exists()


def test_weights_of_a_recipe_are_let_go_before_the_next_are_made(here: Path) -> None:
    source = RecipeWeights(Path("article.toml"), variables={"rank": 2})
    assert source.step == "B2"
    assert source.variables == {"M": 0.7, "rank": 2}
    held: list[int] = []
    source.before = lambda: held.append(len(source.held))
    first = source.evaluate({"M": 0.5, "rank": 2})
    assert source.evaluate({"rank": 2, "M": 0.5}) == first
    second = source.evaluate({"M": 0.6, "rank": 2})
    assert list(source.held) == [second] != [first]
    assert held == [0, 0]


@pytest.mark.long
def test_the_identity_of_a_recipe_follows_its_text_and_inputs(here: Path) -> None:
    path, base = Path("article.toml"), Path("baseA.safetensors")
    text = path.read_text(encoding="utf-8")
    for link in (path, base):
        content = link.read_bytes()
        link.unlink()
        link.write_bytes(content)
    first = RecipeWeights(path).identity
    assert RecipeWeights(path).identity == first
    assert RecipeWeights(path, "A1").identity != first
    path.write_text(text.replace("0.8*lora1", "0.9*lora1"), encoding="utf-8")
    assert RecipeWeights(path).identity != first
    path.write_text(text, encoding="utf-8")
    base.write_bytes(Path("baseB.safetensors").read_bytes())
    assert RecipeWeights(path).identity != first


def test_an_interrupted_grid_keeps_its_cells(
    here: Path, run: Run, done: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = LocalRenderer.render

    def one_picture(
        self: LocalRenderer, requests: Sequence[ImageRequest], on_image: Callable[..., None]
    ) -> None:
        whole(self, requests[:1], on_image)
        raise KeyboardInterrupt

    words = (*GRID, "--x", "hina = 0, 0.5, 1", "-o", "out")
    with monkeypatch.context() as patch:
        patch.setattr(LocalRenderer, "render", one_picture)
        result = run(*words)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == (
        "lathe: interrupted; finished cells are kept in out; the same command goes on from there"
    )
    assert "2 rendered, 1 were there already" in done(*words).stdout


def test_a_dry_run_writes_nothing(here: Path, done: Run) -> None:
    before = sorted(here.rglob("*"))
    result = done(*GRID, "--seed", "-1", "--x", "hina = 0..1 (+0.25)", "--y", "seed = -1, -1", "--dry-run")
    assert result.stdout == (
        "would make a grid of 10 cells\n"
        "  x           hina: 0, 0.25, 0.5, 0.75, 1\n"
        + next(line + "\n" for line in result.stdout.splitlines() if line.startswith("  y "))
        + "  pictures    10 distinct, 0 of them there already\n"
        "  size        64×64\n"
        "  steps       20 in all\n"
        + next(line + "\n" for line in result.stdout.splitlines() if line.startswith("  time "))
        + next(line + "\n" for line in result.stdout.splitlines() if line.startswith("  memory "))
        + "  into        baseA+hina-grid\n"
    )
    assert sorted(here.rglob("*")) == before


def test_scorers_and_look(here: Path, done: Run) -> None:
    done(*GRID, "--x", "hina = 0, 1", "--scorer", "none", "--no-legend", "--margin", "0", "-o", "out")
    assert pixels("out/grid.png").shape == (64, 128, 3)
    assert "SSIM" not in rows("out")[0]


def test_hires_fix_and_embeddings_are_of_the_study(
    here: Path, done: Run, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalRenderer, "render", draw)
    words = ("grid", "baseA.safetensors", "--prompt", "a badhand", "--x", "seed = 1, 2", "-o", "g")
    more = ("--embeddings", "embeddings", "--hires-denoising", "0.5")
    for _ in range(2):
        done(*words, *more, "--hires", "2")
    facts = json.loads(Path("g/study.json").read_text())["facts"]
    assert facts["hires denoising"] == 0.5
    assert [Path(file).name for file in facts["embeddings"]] == ["badhand.safetensors"]
    other = run(*words, *more, "--hires", "1.5")
    assert "not the same: hires scale" in other.stderr
