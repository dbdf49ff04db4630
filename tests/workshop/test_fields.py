"""Every option of the library has its field in the workshop, and every field is an option."""

from __future__ import annotations

import inspect
import shlex
from pathlib import Path

import pytest

import loralathe
from loralathe.api import arguments, bases, cures, picture_options, segmenting, soups, tuning
from loralathe.cli import lathe
from loralathe.workshop.commands import COMMANDS, Request, read_request
from loralathe.workshop.fields import OPTIONS, forms
from loralathe.workshop.places import Place, Places

FOLDERS = {"lora_dir", "checkpoint_dir", "vae_dir", "embeddings", "comfyui", "webui"}
OWN = {"options", "progress", "inputs", "dry_run", *FOLDERS}
"""Folders, and what the workshop gives itself."""
KEYWORDS = {
    "render": picture_options.OpenRenderKeywords,
    "grid": picture_options.OpenGridKeywords,
    "blocks": segmenting.OpenSegmentKeywords,
    "merge": arguments.SaveKeywords,
    "add_difference": arguments.SaveKeywords,
    "weighted_sum": arguments.SaveKeywords,
    "convert": arguments.SaveKeywords,
    "combine": arguments.RunKeywords,
    "extract": arguments.RunKeywords,
    "resize": arguments.RunKeywords,
    "run": arguments.RunKeywords,
    "convert_lora": arguments.RunKeywords,
    "tune": tuning.OpenTuneKeywords,
    "everywhere": bases.EverywhereKeywords,
    "soup": soups.SoupKeywords,
    "cure": cures.CureKeywords,
}
ELSEWHERE = {
    "block_weights": {"other"},  # a LoRA that is one of the words
    "run": {"search"},
    "verify": {"search"},
    "blocks": {"slack", "error"},  # of a search by segments; the command has none
    "everywhere": {"reuse"},  # each base has a folder of its own
    "merge": {"search"},
    "soup": {"folder"},
    "cure": {"folder", "on", "devices"},  # it looks into the layers of a model of this process
    "check_identity": {"card", "pictures"},
}
"""What is no field: words, and folders beside the output."""
RECIPE = {"recipe", "step", "variables"}
ANOTHER = {
    "grid": RECIPE,
    "tune": RECIPE,
    "blocks": {"segments"},
}
"""Of what a recipe makes, or by segments: another function of the library."""

EXAMPLES = {
    "text": "a",
    "lines": "a",
    "number": 0.5,
    "whole": 1,
    "flag": True,
    "choice": "a",
    "file": "/a",
    "files": ["/a", "/b"],
    "list": ["a", "b"],
    "map": {"a": "b"},
    "numbers": [1, 2],
}
NO_LISTS = ("extract", "resize", "add_difference", "weighted_sum", "convert", "convert_lora")
WITHOUT = {(command, option) for command in NO_LISTS for option in ("presets", "missing_blocks")}
"""Options that do nothing there: they have no strengths."""


def keywords_of(command: str) -> set[str]:
    """What its function takes by name, its keywords and theirs."""
    parameters = inspect.signature(getattr(loralathe, command)).parameters.values()
    found = {one.name for one in parameters if one.default is not one.empty or one.name in ("to", "model")}
    return found | set(getattr(KEYWORDS.get(command), "__annotations__", {}))


def test_every_command_has_fields() -> None:
    assert set(OPTIONS) == set(COMMANDS)


@pytest.mark.parametrize("command", sorted(OPTIONS))
def test_every_option_has_a_field(command: str) -> None:
    fields = set(OPTIONS[command]) - ANOTHER.get(command, set())
    assert fields == keywords_of(command) - OWN - ELSEWHERE.get(command, set())


@pytest.mark.parametrize("command", sorted(OPTIONS))
def test_the_command_that_is_shown_has_only_options_that_are_there(command: str) -> None:
    name = COMMANDS[command].name or command.replace("_", "-")
    found = lathe.get_command(None, name)  # type: ignore[arg-type]
    assert found is not None
    known = {flag for one in found.params for flag in (*one.opts, *one.secondary_opts)}
    for option, field in OPTIONS[command].items():
        ranks = {"rank": 4} if command == "soup" else {"mode": "linear_ratio"}
        value = {**EXAMPLES, "ranks": ranks}.get(option, EXAMPLES[field.kind])
        line = Request(command, (), {}, ("1",), {option: not field.default if value is True else value})
        flags = [word for word in shlex.split(line.line("posix")) if word.startswith("-")]
        if (command, option) not in WITHOUT and option.upper() not in COMMANDS[command].lead:
            assert flags
            assert set(flags) <= known


def test_fields_as_json() -> None:
    found = forms(str, {"sampler": ["Euler"]})
    grid = {one["name"]: one for one in found["grid"]}
    assert grid["sampler"]["choices"] == ["Euler"]
    kinds = {one["kind"] for fields in found.values() for one in fields}
    assert kinds <= set(EXAMPLES)
    assert all(one["of"] for fields in found.values() for one in fields if one["kind"].startswith("file"))


def test_blocks_by_segments_take_what_means_something_there(tmp_path: Path) -> None:
    """The form holds the options of both ways, and the command line refuses those of the other one."""
    for name in ("out", "models"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        (tmp_path / "models" / f"{name}.safetensors").write_bytes(b"")
    places = Places([
        Place("out", "out", tmp_path / "out"),
        Place("checkpoints", "checkpoint", tmp_path / "models"),
        Place("loras", "lora", tmp_path / "models"),
    ])  # fmt: skip
    options = {"prompt": "hina", "range": "0,1", "swap": True, "most_seeds": 4, "blocks": "MID"}
    words = ["checkpoints/a.safetensors", "loras/b.safetensors"]

    def typed(**more: object) -> set[str]:
        given = {"command": "blocks", "words": words, "options": {**options, **more}}
        return {word for word in shlex.split(read_request(given, places).line("posix")) if word[:2] == "--"}

    assert typed(segments=True) >= {"--segments", "--most-seeds", "--blocks"}
    assert not typed(segments=True) & {"--range", "--swap"}
    assert typed() >= {"--range", "--swap", "--blocks"}
    assert not typed() & {"--segments", "--most-seeds"}


def test_folders_of_embeddings_reach_pictures_and_their_command(tmp_path: Path) -> None:
    for name in ("out", "models", "words"):
        (tmp_path / name).mkdir()
    (tmp_path / "models" / "a.safetensors").write_bytes(b"")
    places = Places([
        Place("out", "out", tmp_path / "out"),
        Place("checkpoints", "checkpoint", tmp_path / "models"),
        Place("embeddings", "embedding", tmp_path / "words"),
    ])  # fmt: skip
    found = read_request(
        {"command": "render", "words": ["checkpoints/a"], "options": {"prompt": "x"}}, places
    )
    assert found.call_options["embeddings"] == [str(tmp_path / "words")]
    flags = shlex.split(found.line("posix"))
    assert Path(flags[flags.index("--embeddings") + 1]).resolve() == (tmp_path / "words").resolve()
    merge = {"command": "merge", "words": ["checkpoints/a", "checkpoints/a"], "options": {}}
    assert "embeddings" not in read_request(merge, places).call_options


def test_commands_of_loras(tmp_path: Path) -> None:
    """As a person types them; the names of a conversion must be chosen."""
    for name in ("out", "models", "loras"):
        (tmp_path / name).mkdir()
    (tmp_path / "loras" / "hina.safetensors").write_bytes(b"")
    for name in ("a", "b"):
        (tmp_path / "models" / f"{name}.safetensors").write_bytes(b"")
    places = Places([
        Place("out", "out", tmp_path / "out"),
        Place("checkpoints", "checkpoint", tmp_path / "models"),
        Place("loras", "lora", tmp_path / "loras"),
    ])  # fmt: skip

    def typed(command: str, *words: str, **options: object) -> list[str]:
        asked = {"command": command, "words": ["loras/hina", *words], "options": options}
        return [Path(word).name for word in shlex.split(read_request(asked, places).line("posix"))]

    transfer = typed("transfer", "checkpoints/a", "checkpoints/b", output="moved")
    assert transfer[:3] == ["lathe", "transfer", "hina.safetensors"]
    assert transfer[3:7] == ["--from", "a.safetensors", "--to", "b.safetensors"]
    convert = typed("convert_lora", to="peft", bake="checkpoints/a", rank=4)
    assert convert[:3] == ["lathe", "convert", "hina.safetensors"]
    assert convert[convert.index("--to") + 1] == "peft"
    assert convert[convert.index("--bake") + 1] == "a.safetensors"
    assert typed("check_lora", programs=["forge"]) == ["lathe", "check", "hina.safetensors", "--in", "forge"]
    with pytest.raises(loralathe.InputError, match="no names are chosen") as caught:
        typed("convert_lora")
    assert "to" in str(caught.value.where)


def test_a_model_in_the_layout_of_diffusers_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    places = Places([Place("out", "out", tmp_path)])

    def output(**options: object) -> str:
        asked = {"command": "convert", "words": ["out/a"], "options": {**options, "output": "made"}}
        return Path(read_request(asked, places).call_options["output"]).name

    assert output(layout="diffusers") == "made"
    assert output(layout="original") == output() == "made.safetensors"
    unnamed = {"command": "convert", "words": ["out/a"], "options": {"layout": "diffusers"}}
    assert Path(read_request(unnamed, places).call_options["output"]).suffix == ""
