"""`lathe render`: files and their names, adapters as words and as tags, and what a merge gives."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cli.kit import Run
from cli_pictures.conftest import QUICK
from loralathe.rendering.infotext import png_text, read_infotext


def pixels(path: Path | str) -> NDArray[np.int16]:
    with Image.open(path) as image:
        return np.asarray(image, dtype=np.int16)


def test_a_folder_named_after_the_inputs_and_files_after_number_and_seed(here: Path, done: Run) -> None:
    words = (
        "render",
        "baseA.safetensors",
        "hina.safetensors:0.7",
        "--prompt",
        "a girl",
        *QUICK,
        "--count",
        2,
    )
    assert done(*words).stdout.split() == ["baseA+hina/00000-7.png", "baseA+hina/00001-8.png"]
    assert done(*words).stdout.split() == ["baseA+hina/00002-7.png", "baseA+hina/00003-8.png"]
    first = pixels("baseA+hina/00000-7.png")
    assert first.shape == (64, 64, 3)
    assert np.array_equal(first, pixels("baseA+hina/00002-7.png"))
    assert not np.array_equal(first, pixels("baseA+hina/00001-8.png"))


def test_infotext_reads_back(here: Path, done: Run) -> None:
    done(
        "render",
        "baseA.safetensors",
        "hina.safetensors:0.7:te=0",
        "--prompt",
        "a girl",
        *QUICK,
        "-o",
        "g.png",
        "--hash",
    )
    reading = read_infotext(png_text(Path("g.png")) or "")
    assert reading.prompt == "a girl <lora:hina:0:0.7>"
    kept = ("Steps", "Sampler", "CFG scale", "Seed", "Size", "Model")
    assert [reading.entries[name] for name in kept] == ["2", "Euler", "7", "7", "64x64", "baseA"]
    assert len(reading.entries["Model hash"]) == 10
    shown = done("inspect", "g.png").stdout.splitlines()
    assert shown[:2] == ["g.png: a picture", "  Prompt         a girl <lora:hina:0:0.7>"]
    assert "  CFG scale      7" in shown
    event = json.loads(done("inspect", "g.png", "--json").stdout)
    assert (event["event"], event["entries"]["Seed"]) == ("picture", "7")


def test_a_picture_without_infotext_says_so(here: Path, run: Run) -> None:
    Image.new("RGB", (8, 8)).save("plain.png")
    assert "does not say how it was made" in run("inspect", "plain.png").stderr


def test_a_tag_means_what_the_words_mean(here: Path, done: Run) -> None:
    done(
        "render",
        "baseA.safetensors",
        "hina.safetensors:0.7:OUTALL:te=0.2",
        "--prompt",
        "a girl",
        *QUICK,
        "-o",
        "1.png",
    )
    tag = "a girl <lora:hina:0.2:0.7:lbw=OUTALL>"
    done("render", "baseA.safetensors", "--lora-dir", "loras", "--prompt", tag, *QUICK, "-o", "2.png")
    done(
        "render",
        "baseA.safetensors",
        "--lora-dir",
        "loras",
        "hina:0.7:OUTALL:te=0.2",
        "--prompt",
        "a girl",
        *QUICK,
        "-o",
        "3.png",
    )
    done("render", "baseA.safetensors", "--prompt", "a girl", *QUICK, "-o", "none.png")
    assert np.array_equal(pixels("1.png"), pixels("2.png"))
    assert np.array_equal(pixels("1.png"), pixels("3.png"))
    assert np.abs(pixels("1.png") - pixels("none.png")).max() > 10


def test_the_picture_is_that_of_the_merged_file(here: Path, done: Run) -> None:
    mine = ("--blocks", "Mine=1,0,0.5,1,1,1,0.3,0.3,1,1,1,1,0.2,1,1,1,1")
    done(
        "render",
        "baseA.safetensors",
        "hina.safetensors:0.8:Mine",
        *mine,
        "--prompt",
        "a girl",
        *QUICK,
        "-o",
        "1.png",
    )
    done("merge", "baseA.safetensors", "hina.safetensors:0.8:Mine", *mine, "-o", "m.safetensors")
    done("render", "m.safetensors", "--prompt", "a girl", *QUICK, "-o", "2.png")
    assert np.abs(pixels("1.png") - pixels("2.png")).max() <= 1


def test_a_malformed_tag_is_told_with_its_place_and_the_rest_is_rendered(here: Path, done: Run) -> None:
    result = done("render", "baseA.safetensors", "--prompt", "a girl <lora:hina:x=y>", *QUICK, "-o", "1.png")
    assert result.stderr == (
        "lathe: note: prompt, character 19: the tag is left out: x= 'y' is not a number; "
        "write one such as 0.7 (near 'x=y>')\n"
    )
    done("render", "baseA.safetensors", "--prompt", "a girl ", *QUICK, "-o", "2.png")
    assert np.array_equal(pixels("1.png"), pixels("2.png"))


def test_existing_files_stay_unless_forced(here: Path, run: Run, done: Run) -> None:
    words = ("render", "baseA.safetensors", "--prompt", "x", *QUICK, "-o", "g.png")
    Path("g.png").write_bytes(b"mine")
    refused = run(*words)
    assert refused.exit_code == 2
    assert (
        refused.stderr == "lathe: error: the file exists\n  where: g.png\n  fix:   another name, or --force\n"
    )
    assert Path("g.png").read_bytes() == b"mine"
    done(*words, "--force")
    assert pixels("g.png").shape == (64, 64, 3)


def test_json_is_lines_on_stdout_alone(here: Path, done: Run) -> None:
    result = done("render", "baseA.safetensors", "--prompt", "a <lroa:x>", *QUICK, "-o", "g.png", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[-1] == {"event": "picture", "file": "g.png"}
    assert any("did you mean 'lora'?" in event.get("text", "") for event in events)
    assert result.stderr == "g.png\n"


def test_quiet_says_nothing(here: Path, done: Run) -> None:
    result = done("render", "baseA.safetensors", "--prompt", "a", *QUICK, "-o", "g.png", "--quiet")
    assert result.output == ""
    assert Path("g.png").is_file()


def test_a_dry_run_shows_the_request_and_writes_nothing(here: Path, done: Run) -> None:
    before = sorted(here.rglob("*"))
    result = done(
        "render", "xl.safetensors", "xlora.safetensors:0.5", "--prompt", "a girl", "--count", 3, "--dry-run"
    )
    assert result.stdout == (
        "would render 3 pictures\n"
        "  checkpoint  xl.safetensors (SDXL)\n"
        "  adapter     xlora.safetensors:0.5\n"
        "  prompt      a girl\n"
        "  sampler     DPM++ 2M, Automatic, 20 steps, CFG 7\n"
        "  size        1024×1024\n"
        "  steps       60 in all\n"
        "  time        about 7.1 s for the steps (a guess by the model's size, none was measured here yet)\n"
        + next(line + "\n" for line in result.stdout.splitlines() if line.startswith("  memory "))
        + "  seed        random and 2 after it\n"
        "  into        xl+xlora\n"
    )
    assert sorted(here.rglob("*")) == before


def test_sdxl_renders(here: Path, done: Run) -> None:
    done("render", "xl.safetensors", "xlora.safetensors:0.5", "--prompt", "a girl", *QUICK, "-o", "g.png")
    assert pixels("g.png").std() > 5


def test_styles_stand_in_the_prompt_and_in_the_infotext(here: Path, done: Run) -> None:
    styles = ("--styles", "styles.csv", "--style", "film", "--style", "sharp")
    done("render", "baseA.safetensors", "--prompt", "a girl", *QUICK, *styles, "-o", "g.png")
    reading = read_infotext(png_text(Path("g.png")) or "")
    assert reading.prompt == "film still of a girl, grain, sharp <lora:hina:0.7>"
    assert reading.negative == "blurry"


def test_a_profile_keeps_styles_beside_the_prompt(here: Path, done: Run) -> None:
    words = ("--prompt", "a girl", "--styles", "styles.csv", "--style", "film", "--save-settings", "p.toml")
    done("render", "baseA.safetensors", *words, *QUICK, "-o", "g.png")
    result = done("render", "baseA.safetensors", "--settings", "p.toml", "--dry-run", "--json")
    assert '"prompt": "film still of a girl, grain"' in result.stdout


def test_a_style_needs_its_file(here: Path, run: Run) -> None:
    result = run("render", "baseA.safetensors", "--prompt", "a girl", "--style", "film")
    assert "no file of styles is given" in result.stderr
    assert "--styles styles.csv" in result.stderr


def test_an_embedding_is_named_in_a_prompt_and_hashed(here: Path, done: Run) -> None:
    words = ("--prompt", "a girl", "--negative", "BadHand", *QUICK, "--hash")
    done("render", "baseA.safetensors", *words, "--embeddings", "embeddings", "-o", "1.png")
    done("render", "baseA.safetensors", *words, "-o", "2.png")
    found = read_infotext(png_text(Path("1.png")) or "").entries["TI hashes"]
    digest = hashlib.sha256(Path("embeddings/badhand.safetensors").read_bytes()).hexdigest()
    assert found == f"badhand: {digest[:12]}"
    assert not np.array_equal(pixels("1.png"), pixels("2.png"))
