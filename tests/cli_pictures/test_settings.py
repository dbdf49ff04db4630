"""Settings of pictures from a profile or a picture; what is typed wins; the size that a model says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from checkpoints import write_safetensors
from cli.kit import Run
from loralathe import (
    SETTINGS,
    InputError,
    ModelOptions,
    Picture,
    open_model,
    open_recipe,
    read_settings,
    write_settings,
)
from rendering.conftest import make_checkpoint

PROFILE = """
prompt = "a girl, smiling"
negative = "blurry"
seed = 5
steps = 3
cfg = 4
sampler = "Euler a"
schedule = "Karras"
size = "64x128"
clip_skip = 2
"""
INFOTEXT = """a girl, <lora:hina:0.7:lbw=OUTALL>
Negative prompt: blurry
Steps: 9, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5.5, Seed: 11, Size: 128x64, \
Model: animeXL, Model hash: 0123456789, Clip skip: 2, Hires resize: 64x64, Version: v1.10.1"""


def planned(done: Run, *words: object) -> dict[str, Any]:
    """The request that `lathe render … --dry-run` would render."""
    lines = done("render", "baseA.safetensors", *words, "--dry-run", "--json").stdout.splitlines()
    plan = next(event for event in map(json.loads, lines) if event["event"] == "plan")
    return {**plan["request"], "first": plan["seed"]}


def picture(path: Path, text: str) -> Path:
    note = PngInfo()
    note.add_text("parameters", text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=note)
    return path


def test_a_profile_is_taken_and_what_is_typed_wins(here: Path, done: Run) -> None:
    (here / "p.toml").write_text(PROFILE)
    found = planned(done, "--settings", "p.toml")
    assert (found["prompt"], found["negative"], found["first"]) == ("a girl, smiling", "blurry", 5)
    assert (found["steps"], found["cfg"], found["width"], found["height"]) == (3, 4.0, 64, 128)
    assert (found["sampler"], found["schedule"], found["clip_skip"]) == ("Euler a", "Karras", 2)
    for words in (("--settings", "p.toml", "--steps", 20), ("--steps", 20, "--settings", "p.toml")):
        assert planned(done, *words)["steps"] == 20


def test_the_settings_of_a_picture_without_its_files(here: Path, done: Run) -> None:
    picture(here / "girl.png", INFOTEXT)
    found = planned(done, "--settings", "girl.png")
    assert (found["prompt"], found["negative"], found["first"]) == ("a girl,", "blurry", 11)
    assert (found["steps"], found["cfg"], found["width"], found["clip_skip"]) == (9, 5.5, 128, 2)
    assert found["checkpoint"] == "baseA.safetensors"
    assert found["adapters"] == []
    notes = done("render", "baseA.safetensors", "--settings", "girl.png", "--dry-run").stderr
    assert "girl.png" in notes
    assert "Model animeXL, <lora:hina:0.7:lbw=OUTALL>" in notes
    assert "Hires resize" in notes


def test_a_picture_of_ours_makes_itself_again(here: Path, done: Run) -> None:
    words = ("--prompt", "a girl", "--size", "64x64", "--steps", 2, "--seed", 7, "--device", "cpu")
    done("render", "baseA.safetensors", *words, "-o", "1.png")
    result = done("render", "baseA.safetensors", "--settings", "1.png", "--device", "cpu", "-o", "2.png")
    assert "Model baseA" in result.stderr
    with Image.open("1.png") as first, Image.open("2.png") as second:
        assert first.tobytes() == second.tobytes()


def test_hires_fix_of_a_picture(here: Path, done: Run) -> None:
    hires = "Denoising strength: 0.4, Hires upscale: 1.5, Hires steps: 3, Hires upscaler: Latent (nearest)"
    picture(here / "g.png", f"a girl\nSteps: 9, Sampler: Euler, Seed: 1, Size: 64x64, {hires}")
    found = planned(done, "--settings", "g.png", "--hires-steps", 5)["hires"]
    assert found == {"scale": 1.5, "upscaler": "Latent (nearest)", "steps": 5, "denoising": 0.4}
    picture(here / "i.png", "a girl\nSteps: 9, Sampler: Euler, Seed: 1, Denoising strength: 0.4")
    assert "Denoising strength" in done("render", "baseA", "--settings", "i.png", "--dry-run").stderr


def test_a_profile_is_saved_and_read_again(here: Path, done: Run, run: Run) -> None:
    words = (
        "--prompt",
        'a "girl"',
        "--cfg",
        "4.25",
        "--low-vram",
        "--missing-blocks",
        "0",
        "--size",
        "64x64",
    )
    save = (*words, "--save-settings", "made/p.toml", "--dry-run")
    assert "made/p.toml would be written" in done("render", "baseA.safetensors", *save).stderr
    assert not (here / "made").exists()
    grid = (
        "grid",
        "baseA.safetensors",
        *words,
        "--x",
        "seed = 1",
        "--save-settings",
        "made/p.toml",
        "-o",
        "g",
    )
    done(*grid, "--steps", 1, "--device", "cpu", "--scorer", "none")
    values = read_settings("made/p.toml").values
    assert (values["prompt"], values["cfg"], values["low_vram"]) == ('a "girl"', 4.25, True)
    assert values["missing_blocks"] == 0
    assert values.keys() <= SETTINGS.keys()
    again = planned(done, "--settings", "made/p.toml")
    assert (again["prompt"], again["cfg"], again["width"]) == ('a "girl"', 4.25, 64)
    done(*grid, "--steps", 1, "--device", "cpu", "--scorer", "none")  # what says the same may be there
    other = run(*grid, "--steps", 2, "--device", "cpu")
    assert other.exit_code == 2
    assert "p.toml" in other.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stepps = 3", "a profile has no field 'stepps'\n  where: p.toml\n  fix:   did you mean 'steps'"),
        ("lora_dir = '.'", "a profile has no field 'lora_dir'"),
        ("steps = '3'", "'steps' must be a whole number\n  where: p.toml\n  fix:   write steps = 20"),
        ("steps = true", "'steps' must be a whole number"),
        ("low_vram = 1", "'low_vram' must be true or false"),
        ("prompt = 3", "'prompt' must be a text in quotes"),
        ("steps = 0", "Invalid value for '--steps'"),
        ("dtype = 'fp8'", "Invalid value for '--dtype'"),
        ("steps 3", "the profile is not valid TOML"),
    ],
)
def test_a_profile_that_is_wrong(here: Path, run: Run, text: str, told: str) -> None:
    (here / "p.toml").write_text(text)
    result = run("render", "baseA.safetensors", "--prompt", "girl", "--settings", "p.toml", "--dry-run")
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_damaged_number_in_a_picture_is_named(here: Path, run: Run) -> None:
    picture(here / "girl.png", "a girl\nSteps: many, Sampler: Euler, CFG scale: 7, Seed: 1")
    result = run("render", "baseA.safetensors", "--settings", "girl.png", "--dry-run")
    assert "'many' is not a whole number\n  where: girl.png, Steps" in result.stderr


def test_fields_are_those_of_the_options() -> None:
    known = {**vars(ModelOptions()), **vars(Picture())}
    assert SETTINGS.keys() <= known.keys()
    assert vars(Picture()).keys() <= SETTINGS.keys()


def test_paths_in_a_profile_are_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("vae = 'v.safetensors'")
    assert read_settings(tmp_path / "p.toml").values["vae"] == str(tmp_path / "v.safetensors")


def test_half_a_character_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="half a character"):
        write_settings(tmp_path / "p.toml", {"prompt": "a\udc80"})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["render", "grid", "blocks"])
def test_a_prompt_is_asked_for(here: Path, run: Run, done: Run, command: str) -> None:
    words = (command, "baseA.safetensors", "hina.safetensors", "--dry-run")
    result = run(*words)
    assert result.exit_code == 2
    assert (
        'there is no prompt\n  fix:   say what the picture shows, --prompt "a girl, smiling"' in result.stderr
    )
    assert done(*words, "--prompt", "")


def test_a_model_is_drawn_at_the_size_that_it_says(here: Path, done: Run) -> None:
    tensors = make_checkpoint("sd1")
    for said, size in {
        "192x128": (192, 128),
        "64": (64, 64),
        "100x100": (512, 512),
        "huge": (512, 512),
    }.items():
        write_safetensors(here / "said.safetensors", tensors, {"modelspec.resolution": said})
        with open_model("said.safetensors") as model:
            request = model.prepare_render(prompt="girl").options.request
            assert (request.width, request.height) == size
            typed = model.prepare_render(prompt="girl", size="64x64").options.request
            assert (typed.width, typed.height) == (64, 64)


def test_so_is_a_recipe_of_such_models(here: Path) -> None:
    (here / "baseB.safetensors").unlink()
    write_safetensors(here / "baseB.safetensors", make_checkpoint("sd1"), {"modelspec.resolution": "64x128"})
    with open_recipe("article.toml") as model:
        request = model.prepare_grid(prompt="girl", x="M = 0, 1", scorers=["none"]).options.request
        assert (request.width, request.height) == (64, 128)
