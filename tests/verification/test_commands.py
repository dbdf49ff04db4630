"""lathe verify, and lathe run on a file's own record."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from checkpoints import write_safetensors
from loralathe.cli import lathe
from loralathe.engine.record import KEY
from loralathe.language import read_recipe
from loralathe.tensorfiles import read_header


def run(*words: object) -> Result:
    return CliRunner().invoke(lathe, [str(word) for word in words], prog_name="lathe")


@pytest.fixture
def made(sd1, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(sd1.checkpoint, tmp_path / "B1.safetensors"))


def test_verify_ends_with_0_or_2(sd1, made):
    words = ("verify", made, f"A={sd1.path('A')}", "--search", sd1.folder, "--all", "--threads", 1)
    sound = run(*words)
    assert sound.exit_code == 0, sound.output
    assert sound.stdout.startswith("B1.safetensors is what its record says\n")
    assert "recipe      B1 = B + 0.8*fp16(small) - M*(B - A)@'INALL'\n" in sound.stdout
    data = bytearray(made.read_bytes())
    data[-1] ^= 0x40
    made.write_bytes(data)
    broken = run(*words, "--json")
    assert broken.exit_code == 2
    event = json.loads(broken.stdout.splitlines()[-1])
    assert event["event"] == "verification"
    assert event["ok"] is False
    assert len(event["verification"]["findings"]) == 1
    assert "B1.safetensors is NOT what its record says" in broken.stderr
    assert "1 finding" in broken.stderr


def test_verify_without_inputs(made):
    result = run("verify", made)
    assert result.exit_code == 2
    assert result.stderr.startswith("lathe: error: 3 of the recipe's 3 inputs are not in ")
    assert "--search FOLDER" in result.stderr


def test_run_makes_the_file_again(sd1, made, tmp_path):
    result = run("run", made, "--search", sd1.folder, "-o", tmp_path / "again.safetensors")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "again.safetensors").read_bytes() == made.read_bytes()


@pytest.mark.parametrize("flag", ["--force", "--dry-run"])
def test_a_file_is_made_again_only_where_the_person_says(sd1, made, flag):
    before = made.read_bytes()
    result = run("run", made, "--search", sd1.folder, flag)
    assert result.exit_code == 2
    assert "made again only where you say" in result.stderr
    assert "give -o FILE" in result.stderr
    assert made.read_bytes() == before


@pytest.mark.parametrize(
    ("recorded", "written"),
    [
        ("/etc/x.safetensors", "x.safetensors"),
        ("..\\..\\y.ckpt", "y.ckpt"),
        ("C:z.pt", "z.pt"),
        ("a/..", "A"),
    ],
)
def test_a_recipe_from_a_record_names_files_without_folders(sd1, tmp_path, recorded, written):
    record = json.loads(read_header(sd1.checkpoint).metadata[KEY])
    record["inputs"]["A"]["file"] = recorded
    record["inputs"]["V"] = {"file": "../../vae.safetensors"}
    record["options"]["vae"] = "V"
    strange = tmp_path / "strange.safetensors"
    write_safetensors(strange, {"x": torch.zeros(1)}, {KEY: json.dumps(record)})
    assert run("run", strange, "--write-recipe", tmp_path / "r.toml").exit_code == 0
    found = read_recipe(tmp_path / "r.toml")
    assert found.inputs["A"] == tmp_path / written
    assert found.saves[0].file == strange
    assert found.saves[0].vae == tmp_path / "vae.safetensors"


def test_a_recipe_that_saves_elsewhere_says_so_first(sd1, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    recipe = folder / "r.toml"
    recipe.write_text(
        f'[inputs]\nA = "{sd1.path("A").as_posix()}"\n[steps]\nB = "A"\nC = "A"\n'
        '[save]\nB = "../far.safetensors"\nC = "near.safetensors"\n',
        encoding="utf-8",
    )
    said = "the recipe writes outside of its own folder: "
    dry = run("run", recipe, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert f"lathe: note: {said}{folder / '..' / 'far.safetensors'}\n" in dry.stderr
    real = run("run", recipe, "--json")
    first = json.loads(real.stdout.splitlines()[0])
    assert (first["event"], said in first["text"]) == ("message", True)
    assert (tmp_path / "far.safetensors").exists()
    told = run("run", recipe, "-o", f"B={tmp_path / 'mine.safetensors'}", "--dry-run")
    assert said not in told.stderr


def test_run_with_another_value(sd1, made, tmp_path):
    target = tmp_path / "other.safetensors"
    result = run("run", made, "--search", sd1.folder, "--set", "M=0", "-o", target)
    assert result.exit_code == 0, result.output
    assert target.read_bytes() != made.read_bytes()
    assert run("verify", target, "--search", sd1.folder).exit_code == 0


def test_the_recipe_as_toml(made, tmp_path):
    shown = run("run", made, "--show")
    assert shown.exit_code == 0, shown.output
    assert "[steps]\n" in shown.stdout
    target = tmp_path / "B1.toml"
    dry = run("run", made, "--write-recipe", target, "--dry-run")
    assert (dry.exit_code, target.exists()) == (0, False)
    assert f"{target} would be written" in dry.stderr
    assert run("run", made, "--write-recipe", target).exit_code == 0
    assert target.read_text(encoding="utf-8").strip() == shown.stdout.strip()
    assert list(read_recipe(target).inputs) == ["A", "B", "lora"]
    again = run("run", made, "--write-recipe", target)
    assert again.exit_code == 2
    assert "the output exists" in again.stderr
    assert run("run", made, "--write-recipe", target, "--force").exit_code == 0
    before = made.read_bytes()
    itself = run("run", made, "--write-recipe", made, "--force")
    assert itself.exit_code == 2
    assert "one of the inputs" in itself.stderr
    assert made.read_bytes() == before


@pytest.mark.parametrize("name", ["A.safetensors", "new.ckpt", "link.toml"])
def test_a_recipe_takes_no_place_of_a_model(sd1, made, tmp_path, name):
    model = Path(shutil.copyfile(sd1.path("A"), tmp_path / "A.safetensors"))
    before = model.read_bytes()
    (tmp_path / "link.toml").symlink_to(model)
    result = run("run", made, "--write-recipe", tmp_path / name, "--force")
    assert result.exit_code == 2
    assert "this is the name of a model file" in result.stderr
    assert model.read_bytes() == before


def test_recipe_files_take_other_inputs(sd1, made, tmp_path):
    target = tmp_path / "B1.toml"
    run("run", made, "--write-recipe", target)
    words = [f"{name}={sd1.path(name)}" for name in ("A", "B", "lora")]
    flags = ("--missing-blocks", 1, "--allow-unmatched", "-o", tmp_path / "again.safetensors")
    assert run("run", target, *words, *flags).exit_code == 0
    assert (tmp_path / "again.safetensors").read_bytes() == made.read_bytes()
    refused = run("run", target, "--search", tmp_path)
    assert refused.exit_code == 2
    assert "--search" in refused.stderr
    unknown = run("run", target, "Lora=x.safetensors")
    assert "did you mean 'lora'?" in unknown.stderr
