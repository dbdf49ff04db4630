"""`lathe identity`, and --card of render, grid and blocks."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.kit import Run
from cli_pictures.conftest import QUICK
from likeness.models import pixels
from loralathe import read_card

pytest.importorskip("onnxruntime")
FACE = ("--model", "eye.onnx")


@pytest.fixture
def person(here: Path) -> Path:
    """A model, and four pictures of somebody orange."""
    pixels(Path("eye.onnx"))
    rng = np.random.default_rng(0)
    for i in range(4):
        change = rng.integers(-40, 41, (20, 20, 3))
        image = Image.fromarray(np.clip(change + np.array([230, 128, 20]), 0, 255).astype(np.uint8))
        image.save(f"her{i}.png")
    Image.fromarray(255 - np.asarray(Image.open("her0.png"))).save("other.png")
    Image.new("RGB", (20, 20), (230, 128, 20)).save("blank.png")
    return here


def made(done: Run) -> None:
    done(
        "identity",
        "make",
        "her.card",
        "her0.png",
        "her1.png",
        "--photo",
        "her2.png",
        *FACE,
        "--trigger",
        "girl",
    )


def test_make_and_check(person: Path, done: Run) -> None:
    made(done)
    shown = done("identity", "check", "her.card", "her3.png", "other.png", "blank.png").stdout.splitlines()
    rows = [line.split() for line in shown if ".png" in line]
    assert [row[0] for row in rows] == ["her3.png", "other.png", "blank.png"]
    assert [" ".join(row[2:]) for row in rows] == ["the person", "somebody else", "nobody is seen"]
    assert float(rows[0][1]) > 0.9
    assert float(rows[1][1]) < 0
    assert rows[2][1] == "–"


def test_it_speaks_json(person: Path, done: Run) -> None:
    made(done)
    files = ("her3.png", "her2.png", "her1.png", "blank.png")
    lines = done("identity", "check", "her.card", *files, "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    found = [event for event in events if event["event"] == "likeness"]
    assert [(one["file"], one["is_person"]) for one in found] == [
        ("her3.png", True), ("her2.png", True), ("her1.png", True), ("blank.png", False)
    ]  # fmt: skip
    assert found[3]["likeness"] is None
    (mean,) = [event for event in events if event["event"] == "mean"]
    assert mean["likeness"] == pytest.approx(np.mean([one["likeness"] for one in found[:3]]))
    assert mean["low"] < mean["likeness"] < mean["high"]


def test_a_dry_run_writes_nothing(person: Path, done: Run) -> None:
    words = ("identity", "make", "her.card", "her0.png", "her1.png", "her2.png", *FACE, "--dry-run")
    assert "would write an identity card" in done(*words).stdout
    assert not Path("her.card").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("make", "x.card", "her0.png", "her1.png", *FACE), "at least 3 pictures"),
        (("make", "x.card", "her0.png", "her1.png", "blank.png", *FACE), "show nobody"),
        (
            ("make", "x.card", "her0.png", "her1.png", "other.png", *FACE),
            "do not show the person of the others",
        ),
        (("make", "x.card", "her0.png", "her1.png", "her2.png"), "needs a model"),
        (
            ("make", "x.card", "her0.png", "her1.png", "her2.png", *FACE, "--detector", "eye.onnx"),
            "no detector",
        ),
        (("make", "x.safetensors", "her0.png", "her1.png", "her2.png", *FACE), "name of a model file"),
        (("make", "x.card", "her0.png", *FACE, "--cell", "1,1"), "--cell belongs to --study"),
        (("make", "x.card", *FACE, "--study", "."), "no such file"),
        (("check", "eye.onnx", "her0.png"), "a model"),
        (("check", "absent.card", "her0.png"), "no such file"),
    ],
)
def test_what_makes_no_card(person: Path, run: Run, words: tuple[str, ...], said: str) -> None:
    result = run("identity", *words)
    assert result.exit_code == 2
    if words[0] == "make":
        assert said in result.stderr
    assert not Path("x.card").exists()


def test_check_takes_no_options_of_make(person: Path, done: Run, run: Run) -> None:
    made(done)
    assert "--trigger belongs to" in run("identity", "check", "her.card", "her0.png", "--trigger", "x").stderr
    assert "no picture to check" in run("identity", "check", "her.card").stderr


@pytest.mark.slow
def test_render_says_how_like_her_pictures_are(person: Path, done: Run) -> None:
    made(done)
    shown = done(
        "render", "baseA.safetensors", "--prompt", "a girl", *QUICK, "--count", 3, "--card", "her.card"
    )
    assert [line.split()[0] for line in shown.stdout.splitlines() if "0-7.png" in line][-1].endswith(
        "00000-7.png"
    )
    assert "likeness" in shown.stdout
    assert "mean" in shown.stdout


def test_a_grid_by_a_card_and_a_card_of_its_cells(person: Path, done: Run) -> None:
    made(done)
    words = (
        "grid",
        "baseA.safetensors",
        "hina.safetensors",
        "--prompt",
        "girl, smile",
        *QUICK[:4],
        *QUICK[6:],
    )
    axes = ("--x", "hina = 0, 1", "--y", "seed = 1-3", "--scorer", "none", "-o", "g")
    plan = done(*words, *axes, "--card", "her.card", "--bleed", "--dry-run").stdout
    assert "15 distinct, 0 of them there already" in plan
    shown = done(*words, *axes, "--card", "her.card", "--bleed").stdout.partition("over the seeds")[2]
    assert [line.split()[0] for line in shown.splitlines()[3:5]] == ["0", "1"]
    assert shown.count("±") == 4
    rows = list(csv.DictReader(Path("g/results.csv").read_text("utf-8-sig").splitlines()))
    assert len(rows) == 6
    assert all(float(row["bleed"]) == 0 for row in rows if row["hina"] == "0")
    assert all(float(row["bleed"]) > 0 for row in rows if row["hina"] == "1")
    done(
        "identity", "make", "g.card", "--study", "g", "--cell", "2,1", "--cell", "2,2", "--cell", "2,3", *FACE
    )
    card = read_card("g.card")
    keys = {row["file"] for row in rows if row["hina"] == "1"}
    assert {f"cells/{one.name}" for one in card.references} == keys
    checked = done("identity", "check", "g.card", "--study", "g").stdout
    assert checked.count(".png") == 6


@pytest.mark.slow
def test_blocks_by_a_card(person: Path, done: Run) -> None:
    made(done)
    words = ("blocks", "baseA.safetensors", "hina.safetensors", "--prompt", "girl", *QUICK, "--seeds", 2)
    shown = done(*words, "--blocks", "IN04,MID", "--range", "0,1", "--card", "her.card", "-o", "b").stdout
    assert "likeness" in shown
    rows = list(csv.DictReader(Path("b/blocks.csv").read_text("utf-8-sig").splitlines()))
    report = json.loads(Path("b/blocks.json").read_text())
    card = read_card("her.card")
    sources = card.likeness([Image.open(f"b/cells/{key}.png") for key in report["sources"]])
    for row, effect in zip(rows, report["effects"], strict=True):
        tests = card.likeness([Image.open(f"b/cells/{key}.png") for key in effect["keys"]])
        differences = np.array(tests, float) - np.array(sources, float)
        assert float(row["likeness"]) == pytest.approx(differences.mean(), rel=1e-4, abs=1e-6)
        assert effect["likeness"]["values"] == pytest.approx(list(differences), abs=1e-6)
    assert report["likeness"]["mean"] == pytest.approx(np.mean(sources), abs=1e-6)
