"""A record holds all that decides the bytes: a file made again from it is the same file."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from loralathe.commands import as_flag
from loralathe.engine import RUN_CHOICES, RunOptions, parse_record, read_record, run_recipe
from loralathe.engine.record import SAVE_CHOICES
from loralathe.errors import InputError
from loralathe.language import Save, make_recipe, read_recipe, recipe_text
from loralathe.verification import find_inputs, rebuild, record_as_toml

FACE = "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,1,1,1,1,1"
WITHOUT_INFLUENCE = {
    # The title is in the metadata itself, the config in a file of its own.
    Save: {"step", "file", "title", "config_from", "like"},
    RunOptions: {"threads", "memory", "force", "check_finite", "hash_inputs", "presets"},
}


@pytest.mark.parametrize(("kind", "choices"), [(Save, SAVE_CHOICES), (RunOptions, RUN_CHOICES)])
def test_every_choice_is_recorded_or_has_no_influence(kind, choices):
    """A new field of Save or RunOptions must be put on one of the two lists."""
    assert {item.name for item in fields(kind)} == {*choices, *WITHOUT_INFLUENCE[kind]}


@pytest.mark.long
def test_the_same_bytes(shop, tmp_path):
    for number, path in enumerate((shop.checkpoint, shop.adapter)):
        again = tmp_path / f"again{number}.safetensors"
        run_recipe(*rebuild(path, again, search=[shop.folder]))
        assert again.read_bytes() == path.read_bytes()


@pytest.mark.long
def test_on_the_processor_where_the_recorded_device_is_not_here(sd1, tmp_path):
    path, again = tmp_path / "small.safetensors", tmp_path / "again.safetensors"
    with safe_open(sd1.adapter, "pt") as file:
        metadata = file.metadata()
    record = json.loads(metadata["loralathe"])
    record["options"]["device"] = "nowhere"
    save_file(load_file(sd1.adapter), path, metadata | {"loralathe": json.dumps(record)})
    recipe, options = rebuild(path, again, search=[sd1.folder])
    assert options.device == "cpu"
    run_recipe(recipe, options)
    assert again.read_bytes() == sd1.adapter.read_bytes()


def test_in_place_with_force_only(sd1, tmp_path):
    path = shutil.copyfile(sd1.checkpoint, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="the output exists"):
        run_recipe(*rebuild(path, search=[sd1.folder]))
    run_recipe(*rebuild(path, search=[sd1.folder], options=RunOptions(force=True)))
    assert path.read_bytes() == sd1.checkpoint.read_bytes()


def test_as_toml_and_back(sd1, tmp_path):
    """The printed recipe, run with the options that it names, makes the same tensors and the same record."""
    record = read_record(sd1.checkpoint)
    text = record_as_toml(sd1.checkpoint, record, {name: sd1.path(name) for name in record.inputs})
    assert "# run it with: allow_unmatched=True missing_blocks=1\n" in text
    folder = tmp_path / "toml"
    folder.mkdir()
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    run_recipe(
        read_recipe(folder / "recipe.toml"), RunOptions(missing_blocks=1, allow_unmatched=True, threads=1)
    )
    assert (folder / "B1.safetensors").read_bytes() == sd1.checkpoint.read_bytes()


def test_without_hashes(sd1, tmp_path):
    recipe = make_recipe(
        inputs={"A": sd1.path("A")}, steps={"x": "A"}, saves=[Save("x", tmp_path / "x.safetensors", "bf16")]
    )
    run_recipe(recipe, RunOptions(hash_inputs=False))
    again, options = rebuild(tmp_path / "x.safetensors", tmp_path / "y.safetensors", search=[sd1.folder])
    assert options.hash_inputs is False
    run_recipe(again, options)
    assert (tmp_path / "y.safetensors").read_bytes() == (tmp_path / "x.safetensors").read_bytes()


def test_block_lists_of_all_kinds(sd1, tmp_path):
    """Presets under names that recipes cannot have, and lists that are names of other lists."""
    presets = {"My Face": FACE, "A": FACE, "Odd": "IN04=0.5,*=0", "Unused": "*=1"}
    recipe = make_recipe(
        inputs={name: sd1.path(name) for name in ("A", "lora")},
        steps={"x": "A + lora@'My Face' + lora@Alias + lora@'A' + lora@'IN04=0.25'"},
        blocks={"Alias": "Odd"},
        saves=[Save("x", tmp_path / "x.safetensors")],
    )
    run_recipe(recipe, RunOptions(presets=presets))
    record = read_record(tmp_path / "x.safetensors")
    assert set(record.blocks) == {"My Face", "A", "Odd", "Alias"}
    assert '--blocks "My Face=1,0,0,' in record_as_toml(tmp_path / "x.safetensors", record).spelled(as_flag)
    run_recipe(*rebuild(tmp_path / "x.safetensors", tmp_path / "y.safetensors", search=[sd1.folder]))
    assert (tmp_path / "y.safetensors").read_bytes() == (tmp_path / "x.safetensors").read_bytes()


def test_inputs_are_found_by_content(sd1, made_small, tmp_path):
    """Under another name, in a folder of a folder; a namesake with other content is passed over."""
    store = tmp_path / "store" / "deep"
    store.mkdir(parents=True)
    shutil.copyfile(sd1.path("A"), store / "renamed.safetensors")
    shutil.copyfile(sd1.path("B"), store / "A.safetensors")
    record = read_record(made_small)
    found = find_inputs(record, made_small, {"lora": sd1.path("lora")}, [tmp_path / "store"])
    assert found == {"A": store / "renamed.safetensors", "lora": sd1.path("lora")}


@pytest.fixture
def made_small(sd1, tmp_path: Path) -> Path:
    recipe = make_recipe(
        inputs={name: sd1.path(name) for name in ("A", "lora")},
        steps={"x": "A + 0.5*lora"},
        saves=[Save("x", tmp_path / "x.safetensors")],
    )
    run_recipe(recipe, RunOptions(threads=1))
    return tmp_path / "x.safetensors"


def test_another_file(sd1, made_small):
    record = read_record(made_small)
    with pytest.raises(InputError, match="'A' is another file than the one that was used") as caught:
        find_inputs(record, made_small, {"A": sd1.path("B"), "lora": sd1.path("lora")})
    assert caught.value.fix == "give the file that was used: A=FILE"


def test_swapped_files(sd1, made_small):
    with pytest.raises(InputError, match="another file") as caught:
        find_inputs(read_record(made_small), made_small, {"A": sd1.path("lora"), "lora": sd1.path("A")})
    assert caught.value.fix == "this file is 'lora' of the recipe; were two swapped?"


def test_missing_files(sd1, made_small, tmp_path):
    shutil.copyfile(sd1.adapter, tmp_path / "lora.safetensors")
    with pytest.raises(InputError, match=r"^1 of the recipe's 2 inputs is not in ") as caught:
        find_inputs(read_record(made_small), made_small, {"A": sd1.path("A")})
    assert "lora = lora.safetensors, SHA-256 " in str(caught.value.where)
    assert f"; {tmp_path / 'lora.safetensors'} has other content" in str(caught.value.where)
    assert caught.value.fix == "name the file, lora=FILE, or a folder to search: search=FOLDER"


def test_unknown_name_and_folder(sd1, made_small, tmp_path):
    with pytest.raises(InputError, match="no input 'Lora'") as caught:
        find_inputs(read_record(made_small), made_small, {"Lora": sd1.path("lora")})
    assert caught.value.fix == "did you mean 'lora'?"
    with pytest.raises(InputError, match="no such folder"):
        find_inputs(read_record(made_small), made_small, search=[tmp_path / "nowhere"])


def test_no_record(sd1):
    with pytest.raises(InputError, match="no record of how it was made"):
        read_record(sd1.path("A"))


GOOD = {
    "version": "1",
    "save": "x",
    "inputs": {"A": {"file": "a.safetensors", "size": 5, "sha256": "0" * 64}},
    "steps": {"x": "A"},
    "variables": {"M": 1.0},
    "blocks": {"F": "*=1"},
    "options": {"dtype": "fp16"},
}


@pytest.mark.parametrize("key", GOOD)
@pytest.mark.parametrize("value", [None, 1, [], {"A": None}, {"A": {"file": 1}}, {"A": float("nan")}])
def test_damaged_records(key, value):
    """Whatever stands in a field, it is read or refused with words."""
    with suppress(InputError):
        parse_record({"loralathe": json.dumps(GOOD | {key: value})}, "x.safetensors")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    with pytest.raises(InputError):
        parse_record({"loralathe": text}, "x.safetensors")


def test_choices_of_a_newer_version():
    record = GOOD | {"version": "9", "options": {"interpolate": True}}
    with pytest.raises(InputError, match="a choice 'interpolate'") as caught:
        parse_record({"loralathe": json.dumps(record)}, "x.safetensors")
    assert caught.value.fix == "use loralathe 9, which wrote it"


def test_metadata_cannot_replace_the_record(sd1, tmp_path):
    path = tmp_path / "x.safetensors"
    saves = [Save("x", path, metadata={"loralathe": "mine", "k": "v"})]
    run_recipe(make_recipe(inputs={"A": sd1.path("A")}, steps={"x": "A"}, saves=saves))
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["loralathe"])["save"] == "x"
        assert file.metadata()["k"] == "v"


NAMES = st.from_regex(r"[a-zé][a-z0-9_é]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SAVES = {
    "dtype": "fp16",
    "discard": "x",
    "metadata": {"k": "v"},
    "vae": Path("v.safetensors"),
    "metadata_from": "none",
    "config_from": "none",
    "adapter_metadata": "merge",
    "layout": "diffusers",
    "shard_size": "1GB",
    "like": Path("like"),
}
"""Every choice of a saved step that a recipe can hold, at another value than the usual one."""


@given(
    variables=st.dictionaries(NAMES, st.floats(allow_nan=False, allow_infinity=False), max_size=4),
    metadata=st.dictionaries(TEXTS, TEXTS, max_size=3),
    discard=st.none() | TEXTS,
)
@example(variables={}, metadata={'say "A:\tb"': 'A:"b', "k": "C:\r\n"}, discard="A:\x1f")
def test_toml_reads_back(tmp_path_factory, variables, metadata, discard):
    variables = {f"v_{name}": value for name, value in variables.items()}
    recipe = make_recipe(
        inputs={"A": Path('we "ird\\ é.safetensors')},
        steps={"out": "A@'IN04=0.5'", "B": "A + out"},
        variables=variables,
        blocks={"L": "1,0"},
        saves=[Save("out", Path("o.safetensors"), "fp16", discard, metadata)],
    )
    path = tmp_path_factory.mktemp("toml") / "r.toml"
    path.write_text(recipe_text(recipe, ["a comment\nin two lines"]), encoding="utf-8", newline="")
    back = read_recipe(path)
    assert back.steps == recipe.steps
    assert back.variables == recipe.variables
    assert back.blocks == recipe.blocks
    assert [path.parent / save.file for save in recipe.saves] == [save.file for save in back.saves]
    assert (back.saves[0].dtype, back.saves[0].discard) == ("fp16", discard)
    assert back.saves[0].metadata == metadata
    assert back.inputs == {"A": path.parent / 'we "ird\\ é.safetensors'}


def test_toml_keeps_every_choice_of_a_saved_step(tmp_path):
    assert SAVES.keys() == {field.name for field in fields(Save)} - {"step", "file", "title"}
    usual = Save("B", tmp_path / "o.safetensors")
    for name, value in SAVES.items():
        save = replace(usual, **{name: value})
        assert save != usual
        recipe = make_recipe(inputs={"A": Path("a.safetensors")}, steps={"B": "A"}, saves=[save])
        (tmp_path / "r.toml").write_text(recipe_text(recipe), encoding="utf-8")
        (back,) = read_recipe(tmp_path / "r.toml").saves
        paths = {key: tmp_path / path for key in ("vae", "like") if (path := getattr(save, key))}
        assert back == replace(save, **paths), name


def test_tensors_survive_with_another_programs_metadata(sd1, made_small, tmp_path):
    """A file that another program saved again without metadata says so."""
    save_file(load_file(made_small), tmp_path / "bare.safetensors")
    with pytest.raises(InputError, match="no record"):
        rebuild(tmp_path / "bare.safetensors")
