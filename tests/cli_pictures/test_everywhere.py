"""`lathe everywhere`: one LoRA on several bases, side by side; those that cannot be used are named."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from checkpoints import tiny_checkpoint, write_safetensors
from cli.kit import Run
from cli_pictures.conftest import QUICK
from loralathe import usual_sweeps
from loralathe.language import read_recipe
from loralathe.rendering import LocalRenderer
from studies.fakes import draw

CALL = ("everywhere", "hina.safetensors:0.8", "--prompt", "a girl", *QUICK, "--seed", "5", "-o", "out")
SMALL = ("--sweep", "hina unet = 0.5, 1", "--budget", "24 pictures", "--check-seeds", "2")


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalRenderer, "render", draw)


@pytest.fixture
def bases(here: Path) -> Path:
    folder = here / "models"
    folder.mkdir()
    for name in ("baseA", "baseB"):
        shutil.copy(f"{name}.safetensors", folder / f"{name}.safetensors")
    shutil.copy("hina.safetensors", folder / "hina.safetensors")
    return folder


@pytest.mark.long
def test_every_base_gets_its_values_and_a_recipe(bases: Path, done: Run) -> None:
    words = (*CALL, *SMALL, "--bases", "models", "--goal", "diversity")
    result = done(*words, "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert {Path(file).name for file in events[-1]["files"]} == {
        "everywhere.json", "everywhere.csv", "everywhere.html", "everywhere.png",
    }  # fmt: skip
    told = json.loads(Path("out/everywhere.json").read_bytes())["bases"]
    assert [one["name"] for one in told] == ["baseA", "baseB"]  # and not the LoRA beside them
    for one in told:
        assert one["pictures"] <= 24
        recipe = read_recipe(Path("out") / one["folder"] / "recommended.toml")
        assert {path.resolve().name for path in recipe.inputs.values()} == {
            f"{one['name']}.safetensors", "hina.safetensors",
        }  # fmt: skip
    with Path("out/everywhere.csv").open(encoding="utf-8-sig") as file:
        assert [row["base"] for row in csv.DictReader(file)] == [
            str(bases.relative_to(bases.parent) / name) for name in ("baseA.safetensors", "baseB.safetensors")
        ]
    with Image.open("out/everywhere.png") as sheet:
        assert sheet.width > 2 * 64
    before = {one["name"]: one["seconds"] for one in told}
    done(*words)  # nothing is drawn again, and the time of both runs is told
    after = json.loads(Path("out/everywhere.json").read_bytes())["bases"]
    assert all(one["seconds"] >= before[one["name"]] for one in after)
    assert [one["values"] for one in after] == [one["values"] for one in told]


@pytest.mark.long
def test_a_base_of_another_family_is_left_out_by_name(bases: Path, done: Run) -> None:
    write_safetensors(bases / "xl.safetensors", tiny_checkpoint("sdxl", seed=3, width_divisor=8))
    result = done(*CALL, *SMALL, "--bases", "models", "--goal", "diversity")
    assert "xl.safetensors is left out: " in result.stderr
    told = json.loads(Path("out/everywhere.json").read_bytes())["bases"]
    assert [bool(one["left_out"]) for one in told] == [False, False, True]


def test_a_plan_shows_what_is_searched_by_default(bases: Path, done: Run) -> None:
    result = done(*CALL, "--bases", "models", "--goal", "diversity", "--dry-run", "--json")
    planned = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["candidates"] for one in planned] == [9 * 27, 9 * 27]
    assert planned[0]["axes"][0] == "hina"
    assert not Path("out").exists()


@pytest.mark.slow
def test_m_is_searched_in_a_recipe_that_stays(bases: Path, done: Run) -> None:
    words = ("--bases", "models", "--from", "models/baseA.safetensors", "--difference", "--segments", "2")
    done(*CALL, *words, "--goal", "diversity", "--budget", "24 pictures")
    told = json.loads(Path("out/everywhere.json").read_bytes())["bases"]
    assert told[0]["shared"] is None
    assert told[1]["shared"] is not None
    recipe = read_recipe(Path("out/baseB/search.toml"))
    assert recipe.texts["made"] == (
        "B + strength*IN01_OUT03*L@IN01_OUT03_blocks + strength*OUT04_OUT11*L@OUT04_OUT11_blocks"
        " + strength*L@text_encoders + M*(B - A)"
    )
    assert recipe.variables["strength"] == 0.8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--bases", "models", "--difference"], "M needs the base that the LoRA was made for"),
        (["--bases", "nothing"], "nothing"),
        (["--bases", "empty"], "there is no base"),
    ],
)
def test_mistakes(bases: Path, run: Run, words: list[str], said: str) -> None:
    Path("empty").mkdir()
    result = run(*CALL, *SMALL, *words, "--goal", "diversity")
    assert result.exit_code == 2
    assert said in result.stderr
    assert not Path("out").exists()


def test_no_base_fits(bases: Path, run: Run) -> None:
    write_safetensors(Path("xl.safetensors"), tiny_checkpoint("sdxl", seed=3, width_divisor=8))
    Path("no.safetensors").write_bytes(b"nothing")
    words = (*CALL, *SMALL, "--goal", "diversity", "--bases", "xl.safetensors")
    assert "made for" in run(*words).stderr  # one base: its own error
    result = run(*words, "--bases", "no.safetensors")
    assert result.exit_code == 2
    assert "the LoRA fits none of 2 bases" in result.stderr


def test_what_is_wrong_with_the_search_is_told_as_it_is(bases: Path, run: Run) -> None:
    result = run(*CALL, "--bases", "models", "--goal", "diversity", "--budget", "3 pictures")
    assert result.exit_code == 2
    assert "3 pictures are too few for a search" in result.stderr


def test_usual_sweeps_are_axes_of_a_search(bases: Path, done: Run) -> None:
    found = usual_sweeps(bases / "baseA.safetensors", bases / "hina.safetensors", parts=2)
    assert [one.part for one in found] == ["strength", "te", "blocks", "blocks"]
    assert found[0].name == "hina strength"
    assert found[2].blocks.startswith("IN")
    kept = [one for one in found if one.part != "te"]  # it is a part of the strength
    words = [word for one in kept for word in ("--sweep", str(one))]
    files = ("tune", "models/baseA.safetensors", "models/hina.safetensors", "--prompt", "a girl")
    done(*files, *words, *QUICK, "--scorer", "family", "--goal", "diversity", "--dry-run")
