"""Files by name: in the current folder, in --lora-dir and --checkpoint-dir, in those of `lathe config`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

import loralathe
from cli.kit import Run
from loralathe import InputError
from loralathe.adapters import ModelFolders
from loralathe.tensorfiles import config_file


@pytest.fixture
def shelf(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """bases/{a,b,c}, loras/{hina,style} and an empty folder `work`, entered; a config of its own."""
    for folder, names in {"bases": "abc", "loras/mine": ("hina", "style")}.items():
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            shutil.copy(models / f"{name}.safetensors", tmp_path / folder)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("LORALATHE_CONFIG", str(tmp_path / "config" / "lathe.toml"))
    return tmp_path


FOLDERS = ("--lora-dir", "../loras", "--checkpoint-dir", "../bases")
COMMANDS = {
    "merge": "merge a hina:0.7 -o out.safetensors",
    "extract": "extract b a --rank 2 -o out.safetensors",
    "combine": "combine hina:0.7 style -o out.safetensors",
    "resize": "resize hina --rank 2 -o out.safetensors",
    "weighted-sum": "weighted-sum a b -m 0.5 -o out.safetensors",
    "add-difference": "add-difference a b c -m 0.5 -o out.safetensors",
    "convert": "convert a --dtype fp16 -o out.safetensors",
    "eval": "eval A+hina A=a hina=hina -o out.safetensors",
    "run": "run r.toml -o out.safetensors",
    "compare": "compare a b --base c",
    "inspect": "inspect a hina",
    "blocks": "blocks --weights a hina",
}


@pytest.mark.quick(4)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.long
def test_names_are_found_in_folders_that_are_typed_or_remembered(
    shelf: Path, done: Run, run: Run, command: str
) -> None:
    (shelf / "work/r.toml").write_text(
        "[inputs]\nA = 'a'\nhina = 'hina'\n[steps]\nX = 'A + hina'\n[save]\nX = 'x.safetensors'"
    )
    words = COMMANDS[command].split()
    assert run(*words).exit_code == 2
    done(*words, *FOLDERS)
    result = Path("out.safetensors")
    before = result.read_bytes() if result.exists() else b""
    done("config", "set", "lora-dir", "../loras")
    done("config", "set", "checkpoint-dir", "../bases")
    done(*words, *(["--force"] if before else []))
    assert (result.read_bytes() if before else b"") == before


@pytest.mark.long
def test_the_current_folder_is_searched_and_endings_may_be_left_out(
    shelf: Path, models: Path, done: Run
) -> None:
    for name in ("a", "hina"):
        shutil.copy(models / f"{name}.safetensors", ".")
    done("merge", "a", "hina:0.7:te=0", "-o", "1.safetensors")
    done("merge", "a.safetensors", "hina.safetensors:0.7:te=0", "-o", "2.safetensors")
    assert Path("1.safetensors").read_bytes() == Path("2.safetensors").read_bytes()
    loralathe.merge("a", "hina:0.7:te=0", output="3.safetensors")
    assert Path("1.safetensors").read_bytes() == Path("3.safetensors").read_bytes()


def test_several_files_of_a_name_are_listed(shelf: Path, models: Path, run: Run, done: Run) -> None:
    shutil.copy(models / "style.safetensors", "hina.safetensors")
    shutil.copy(models / "style.safetensors", "hina.ckpt")
    result = run("merge", "a", "hina:0.7", *FOLDERS, "--dry-run")
    assert result.exit_code == 2
    hina = Path("../loras/mine/hina.safetensors")
    assert f"several files are called 'hina'\n  where: hina.safetensors, hina.ckpt, {hina}\n" in result.stderr
    os.remove("hina.ckpt")
    assert "hina.safetensors, " in run("merge", "a", "hina:0.7", *FOLDERS, "--dry-run").stderr
    assert "mine/hina" in done("merge", "a", "mine/hina:0.7", *FOLDERS, "--dry-run").stdout.replace("\\", "/")
    os.remove("hina.safetensors")
    os.link("../loras/mine/hina.safetensors", "hina.safetensors")  # one file with two names is one file
    done("merge", "a", "hina:0.7", *FOLDERS, "--dry-run")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("merge a hinna", "no adapter is called 'hinna'\n  where: ../loras\n  fix:   did you mean 'hina'?"),
        ("merge d hina", "no checkpoint is called 'd'\n  where: ../bases"),
        (
            "merge a.ckpt hina",
            "no checkpoint is called 'a.ckpt'\n  where: ../bases\n  fix:   did you mean 'a'?",
        ),
        ("eval A+hina A=a hina=hinna", "no file is called 'hinna'"),
    ],
)
def test_a_name_that_is_nowhere(shelf: Path, run: Run, words: str, told: str) -> None:
    result = run(*words.split(), *FOLDERS)
    assert result.exit_code == 2
    assert told in result.stderr.replace("\\", "/")


def test_a_recipe_finds_files_beside_itself_first(shelf: Path, done: Run) -> None:
    text = "[inputs]\nA = 'a'\nhina = 'hina'\n[steps]\nX = 'A + hina'\n[save]\nX = 'x.safetensors'"
    (shelf / "bases/r.toml").write_text(text)
    done("run", "../bases/r.toml", "--lora-dir", "../loras", "--dry-run")
    assert "a.safetensors" in done("run", "../bases/r.toml", "--lora-dir", "../loras", "--show").stdout


def test_a_record_finds_its_inputs_there(shelf: Path, done: Run, run: Run) -> None:
    done("merge", "a", "hina:0.7", *FOLDERS, "-o", "out.safetensors")
    assert run("verify", "out").exit_code == 2
    assert "is what its record says" in done("verify", "out", *FOLDERS).stdout
    done("run", "out.safetensors", *FOLDERS, "-o", "again.safetensors")
    assert Path("again.safetensors").read_bytes() == Path("out.safetensors").read_bytes()


def test_config_shows_sets_and_unsets(shelf: Path, done: Run) -> None:
    assert "none" in done("config").stdout
    # Long paths are broken over lines.
    shown = "".join(done("config", "set", "lora-dir", "../loras", "../bases").stdout.split())
    assert str(shelf / "loras") in shown
    file = shelf / "config/lathe.toml"
    assert str(file) in shown
    event = json.loads(done("config", "show", "--json").stdout)
    assert event["lora_dir"] == [str(shelf / "loras"), str(shelf / "bases")]
    assert loralathe.read_config() == {"lora_dir": (shelf / "loras", shelf / "bases")}
    shutil.rmtree(shelf / "bases")
    assert "(not there now)" in " ".join(done("config").stdout.split())
    done("inspect", "hina")  # a folder that is gone hides no other
    done("config", "unset", "lora-dir")
    assert file.read_text() == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("set", "lathe config set is written otherwise"),
        ("set lora-dir", "lathe config set is written otherwise"),
        ("unset lora-dir ../loras", "lathe config unset is written otherwise"),
        ("set lora_dri ../loras", "'lora_dri' cannot be remembered\n  fix:   did you mean 'lora_dir'?"),
        ("set lora-dir nowhere", "there is no such folder"),
    ],
)
def test_config_that_is_wrong(shelf: Path, run: Run, words: str, told: str) -> None:
    result = run("config", *words.split())
    assert result.exit_code == 2
    assert told in result.stderr
    assert not (shelf / "config").exists()


@pytest.mark.parametrize("text", ["lora_dir = 'x'", "lora_dri = []", "lora_dir = [1]", "lora_dir ="])
def test_a_damaged_config_is_told_by_whoever_reads_it(shelf: Path, run: Run, text: str) -> None:
    (shelf / "config").mkdir()
    (shelf / "config/lathe.toml").write_text(text)
    for words in (("config",), ("inspect", "hina")):
        result = run(*words)
        assert result.exit_code == 2
        assert "lathe.toml" in result.stderr
    assert loralathe.inspect("../loras/mine/hina.safetensors")  # the library does not read it


@pytest.mark.parametrize(
    ("platform", "name", "expected"),
    [
        ("linux", "XDG_CONFIG_HOME", "loralathe"),
        ("win32", "APPDATA", "loralathe"),
        ("darwin", "HOME", "Library/Application Support/loralathe"),
        ("linux", "HOME", ".config/loralathe"),
    ],
)
def test_where_the_config_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, name: str, expected: str
) -> None:
    for other in ("LORALATHE_CONFIG", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    assert config_file() == tmp_path / expected / "config.toml"


def test_the_library_reads_no_config(shelf: Path, done: Run) -> None:
    done("config", "set", "lora-dir", "../loras")
    with pytest.raises(InputError):
        loralathe.resize("hina", rank=2, output="out.safetensors")
    loralathe.resize("hina", rank=2, output="out.safetensors", lora_dir="../loras")


def test_an_ending_that_is_typed_is_meant(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"")
    (tmp_path / "a.safetensors").write_bytes(b"")
    folders = ModelFolders([tmp_path])
    assert folders.find("a.ckpt") == tmp_path / "a.ckpt"
    with pytest.raises(InputError, match="several"):
        folders.find("A")
