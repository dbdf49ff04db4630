"""Numbers of a soup and of a search in the files that are made of them: written, shown, verified, refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import loralathe
from checkpoints import write_safetensors
from cli.kit import Run
from cli_pictures.conftest import QUICK
from likeness.models import pixels
from loralathe.api.judging import card_file
from loralathe.rendering import LocalRenderer
from loralathe.tensorfiles import content_hash
from rendering.conftest import make_lora
from studies.fakes import draw

LOOKING = ("--prompt", "a girl", *QUICK, "--scorer", "family", "--goal", "diversity")
SOUP = (
    "soup", "hina-1.safetensors", "hina-2.safetensors", "--base", "baseA.safetensors", *LOOKING,
    "--most-seeds", "4", "--check-seeds", "4", "--threads", "1", "--weights", "1,3",
)  # fmt: skip
TUNE = (
    "tune", "baseA.safetensors", "hina.safetensors:0.5", *LOOKING, "--sweep", "hina unet = 0.3, 0.7",
    "--budget", "20", "--first-seeds", "2", "--most-seeds", "3", "--check-seeds", "2", "-o", "out",
)  # fmt: skip


@pytest.fixture(autouse=True)
def pretended_pictures(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalRenderer, "render", draw)


def seen(done: Run, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done("inspect", path, "--json").stdout)["file"]
    return found


def test_a_soup_holds_what_was_measured_of_it(done: Run) -> None:
    for seed in (1, 2):
        write_safetensors(Path(f"hina-{seed}.safetensors"), make_lora("sd1", seed=seed))
    done(*SOUP)
    found = seen(done, "hina-soup.safetensors")
    assert found["measured_here"]
    measured = found["measured"]
    assert measured["by"] == "soup"
    assert measured["base"] == "baseA.safetensors"
    assert measured["strength"] == 1
    assert measured["prompts"] == ["a girl"]
    (number,) = measured["numbers"]
    (check,) = json.loads(Path("hina-soup-study/soup.json").read_text(encoding="utf-8"))["check"]["values"]
    assert number == {
        "name": "diversity", "up": True, "mean": check["mean"], "low": check["low"], "high": check["high"],
        "pictures": len(check["values"]),
    }  # fmt: skip
    text = " ".join(done("inspect", "hina-soup.safetensors").stdout.split())
    assert f"measured diversity {100 * check['mean']:.1f} [" in text
    assert "drawn on baseA.safetensors at strength 1" in text
    done("verify", "hina-soup.safetensors")
    done("run", "hina-soup.safetensors", "-o", "again.safetensors")
    assert content_hash("again.safetensors") == content_hash("hina-soup.safetensors")


def test_without_a_record_there_are_no_numbers(done: Run) -> None:
    for seed in (1, 2):
        write_safetensors(Path(f"hina-{seed}.safetensors"), make_lora("sd1", seed=seed))
    done(*SOUP, "--metadata", "minimal")
    assert seen(done, "hina-soup.safetensors")["measured"] is None


@pytest.fixture
def searched(done: Run) -> str:
    """A finished search in `out`; the command that it recommends."""
    pytest.importorskip("optuna")
    done(*TUNE)
    report = json.loads(Path("out/tune.json").read_text(encoding="utf-8"))
    best = report["candidates"][report["recommended"]]
    command: str = best["recipe"]["command"]
    assert report["measured"]["by"] == "tune"
    return command


@pytest.mark.long
def test_the_recommended_merge_holds_the_numbers_of_its_search(
    searched: str, done: Run, run: Run, tmp_path: Path
) -> None:
    words = shlex.split(searched)[1:]
    done(*words, "-o", "merged.safetensors", "--measured", "out")
    found = seen(done, "merged.safetensors")
    assert found["measured_here"]
    assert found["measured"]["numbers"][0]["name"] == "diversity"
    done("verify", "merged.safetensors")
    done("run", "out/recommended.toml", "-o", "same.safetensors", "--measured", "out/tune.json")
    assert seen(done, "same.safetensors")["measured"] == found["measured"]
    done("merge", "merged.safetensors", "mio.safetensors", "-o", "more.safetensors")
    assert seen(done, "more.safetensors")["measured"] is None, "another model inherits no numbers"

    other = run("merge", "baseA.safetensors", "hina.safetensors:0.55", "--measured", "out", "--dry-run")
    assert "another recipe was measured there, or other files" in " ".join(other.output.split())
    swapped = [word.replace("hina", "mio") if word.startswith("hina") else word for word in words]
    assert run(*swapped, "-o", "no.safetensors", "--measured", "out").exit_code == 2
    unhashed = run(*words, "-o", "no.safetensors", "--measured", "out", "--no-hash")
    assert "files are told by their hashes" in " ".join(unhashed.output.split())
    assert not Path("no.safetensors").exists()


@pytest.mark.long
def test_an_edited_recipe_does_not_keep_numbers_as_its_own(searched: str, done: Run) -> None:
    done(*shlex.split(searched)[1:], "-o", "merged.safetensors", "--measured", "out")
    done("run", "merged.safetensors", "--write-recipe", "mine.toml")
    text = Path("mine.toml").read_text(encoding="utf-8")
    assert "hina(" in text or "*hina" in text
    text = text.replace("hina(", "0.9*hina(").replace("*hina", "*0.9*hina")
    Path("mine.toml").write_text(text, encoding="utf-8")
    done("run", "mine.toml", "-o", "mine.safetensors")
    found = seen(done, "mine.safetensors")
    assert found["measured"] is not None
    assert not found["measured_here"]
    shown = " ".join(done("inspect", "mine.safetensors").stdout.split())
    assert "measured numbers of another recipe or of other files" in shown


@pytest.fixture
def card() -> str:
    """A card of somebody orange."""
    pytest.importorskip("onnxruntime")
    pixels(Path("eye.onnx"))
    rng = np.random.default_rng(0)
    photos = [f"her{number}.png" for number in range(4)]
    for photo in photos:
        seen = rng.integers(-40, 41, (20, 20, 3)) + np.array([210, 128, 45])
        Image.fromarray(seen.astype(np.uint8)).save(photo)
    loralathe.make_card(photos, "eye.onnx", trigger="hina", output="her.card")
    return "her.card"


def test_the_card_is_named_by_its_content(card: str) -> None:
    assert card_file(card) == ("her.card", content_hash("her.card"))
    assert card_file(loralathe.read_card(card)) == ("in memory", "")
    assert card_file(None) == ("", "")


@pytest.mark.long
def test_a_cell_of_a_grid_gives_its_numbers_to_the_same_merge(card: str, done: Run, run: Run) -> None:
    grid = ("grid", "baseA.safetensors", "hina.safetensors", "--prompt", "hina, a girl", *QUICK, "-o", "her")
    done(*grid, "--x", "hina = 0.4, 0.7", "--y", "seed = 1-3", "--card", card, "--bleed")
    done("merge", "baseA.safetensors", "hina.safetensors:0.7", "-o", "m.safetensors", "--measured", "her")
    found = seen(done, "m.safetensors")
    assert found["measured_here"]
    measured = found["measured"]
    groups = json.loads(Path("her/results.json").read_text(encoding="utf-8"))["groups"]
    (group,) = [group for group in groups if list(group["labels"].values()) == ["0.7"]]
    assert [number["name"] for number in measured["numbers"]] == ["likeness", "bleed"]
    for number in measured["numbers"]:
        wanted = group["scores"][number["name"]]
        assert number["mean"] == wanted["mean"]
        assert (number["low"], number["high"]) == (wanted["low"], wanted["high"])
        assert number["pictures"] == 3
    assert (measured["card"], measured["seeds"]) == ("her.card", [1, 3])
    text = done("inspect", "m.safetensors").stdout
    assert f"card her.card  (sha256 {content_hash(card)[:10]}…)" in text

    refused = run("merge", "baseA.safetensors", "hina.safetensors:0.5", "--measured", "her", "--dry-run")
    assert "another recipe was measured there" in " ".join(refused.output.split())
    Path("hina.safetensors").unlink()
    write_safetensors(Path("hina.safetensors"), make_lora("sd1", seed=9))
    changed = run("merge", "baseA.safetensors", "hina.safetensors:0.7", "--measured", "her", "--dry-run")
    assert changed.exit_code == 2, "the file is not the one that was drawn"


def test_a_grid_without_a_card_says_so(done: Run, run: Run) -> None:
    done(
        "grid", "baseA.safetensors", "hina.safetensors", "--prompt", "a", *QUICK, "--x", "hina = 1", "-o", "g"
    )
    result = run("merge", "baseA.safetensors", "hina.safetensors", "--measured", "g", "--dry-run")
    assert "the grid measured no likeness" in result.output


@pytest.mark.parametrize("text", ["[", "[]", "{}", '{"cells": 5, "card": {}}', '{"candidates": 5}',
    '{"cells": [5], "card": {"file": "", "sha256": ""}}', '{"candidates": 5, "measured": {"version": 1}}',
])  # fmt: skip
def test_a_file_that_is_no_study_is_told(run: Run, text: str) -> None:
    Path("tune.json").write_text(text, encoding="utf-8")
    result = run("merge", "baseA.safetensors", "hina.safetensors", "--measured", "tune.json", "--dry-run")
    assert result.exit_code == 2
    assert "search" in result.output
