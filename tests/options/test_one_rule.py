"""docs/semantics.md §8: what people type means the same at every door: names, numbers, sizes, files."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from checkpoints import write_safetensors
from loralathe import inspect
from loralathe.adapters import ModelFolders
from loralathe.errors import InputError
from loralathe.families import family_by_id
from loralathe.language import Number, Product, make_recipe, read_recipe
from loralathe.rendering.prompts import lift_tags
from loralathe.strengths import (
    find_name,
    parse_block_weights,
    parse_elements,
    parse_floats,
    parse_size,
    read_argument,
    read_preset_file,
    resolve,
)
from loralathe.studies.axes_request import resolve_file
from loralathe.tensorfiles import stored_path

SD1 = family_by_id("sd1")
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "がぎ") for form in ("NFC", "NFD"))
INVISIBLE = ("\u200b", "\u200e", "\u202c", "\u2060", "\ufeff")


def strength_of_tag(text: str) -> float:
    tagged = lift_tags(f"<lora:hina:{text}>")
    if not tagged.adapters:
        raise InputError(tagged.issues[0].message)
    return resolve(tagged.adapters[0], SD1).unet


def weight(text: str, presets: Mapping[str, str] | None = None) -> float:
    return parse_block_weights(text, SD1, presets or {}).weight_of("unet.x", "IN04")


def in_preset_file(text: str) -> float:
    """Broken lines of such a file are told and passed over."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "presets.txt"
        path.write_text(f"MINE:1,1,1,{text}{',1' * 13}\n", "utf-8")
        found = read_preset_file(path)
    if found.problems:
        raise InputError(str(found.problems[0]))
    return weight("MINE", found.presets)


def in_formula(text: str) -> float:
    node = make_recipe(inputs={"A": Path("A")}, steps={"x": f"{text}*A"}).steps["x"]
    assert isinstance(node, Product)
    assert isinstance(node.left, Number)
    return node.left.value


NUMBERS: dict[str, Callable[[str], float]] = {
    "argument": lambda text: resolve(read_argument(f"hina.safetensors:{text}"), SD1).unet,
    "argument by name": lambda text: read_argument(f"hina.safetensors:te={text}").te,
    "tag": strength_of_tag,
    "formula": in_formula,
    "block weights": lambda text: weight(f"IN04={text}"),
    "preset file": in_preset_file,
    "element rules": lambda text: parse_elements(f"IN04:attn1:{text}", SD1)[0].value,
    "axis": lambda text: parse_floats(f"{text}, 2")[0],
}


@pytest.mark.parametrize("door", NUMBERS)
def test_invisible_characters_are_dropped(door: str) -> None:
    for sign in INVISIBLE:
        assert NUMBERS[door](f"0.375{sign}") == NUMBERS[door](f"{sign}0.375") == 0.375


@pytest.mark.parametrize("door", NUMBERS)
def test_numbers_are_digits_with_one_point(door: str) -> None:
    read = NUMBERS[door]
    assert read("1e-1") == read(".1") == read("0.1")
    for text in ("inf", "nan", "1_000", "0x10", "0.5.5", "½", "1e999"):
        with pytest.raises(InputError):
            raise AssertionError(f"{text} is read as {read(text)}")


@pytest.mark.parametrize("door", NUMBERS)
def test_full_width_digits_are_refused_with_the_corrected_text(door: str) -> None:
    with pytest.raises(InputError, match=r"half-width characters: (MINE.*|[^:]*)0\.5"):
        raise AssertionError(NUMBERS[door]("０．５"))


def test_sizes_are_read_alike() -> None:
    assert parse_size("100MB\u200b") == 10**8
    assert parse_size("64MiB") == 1 << 26
    with pytest.raises(InputError, match="half-width characters: 100MB"):
        parse_size("１００MB")


def test_both_normal_forms_are_one_name(tmp_path: Path) -> None:
    for typed, stored in ((COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)):
        assert find_name(f"{typed}\u200b", [stored, "other"], "preset") == stored
        assert weight(typed, {stored: "IN04=0.25"}) == 0.25
        recipe = make_recipe(inputs={stored: tmp_path, "A": tmp_path}, steps={"x": f"A + 0.5*{typed}\u200b"})
        assert set(recipe.inputs) == {"A", COMPOSED}
    with pytest.raises(InputError, match=f"two things are called '{COMPOSED}'"):
        make_recipe(inputs={COMPOSED: tmp_path, DECOMPOSED: tmp_path}, steps={})


@pytest.mark.parametrize(("typed", "stored"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_file_is_found_in_either_normal_form(tmp_path: Path, typed: str, stored: str) -> None:
    """As an argument, a tag, a value of an axis, an input of a recipe, and in a folder of such a name."""
    folder = tmp_path / stored
    folder.mkdir()
    path = folder / f"{stored}.safetensors"
    name = "lora_unet_mid_block_attentions_0_proj_in"
    write_safetensors(
        path, {f"{name}.lora_up.weight": torch.ones(8, 1), f"{name}.lora_down.weight": torch.ones(1, 8)}
    )
    asked = tmp_path / typed / f"{typed}\u200b.safetensors"
    assert stored_path(asked) == path
    assert inspect(asked).path == path
    assert read_argument(f"{asked}:0.7").file == str(path)
    assert ModelFolders([stored_path(tmp_path / typed)]).find(f"{typed}\u200b") == path
    assert (
        resolve_file(typed, {stored: str(path)}, "adapter")
        == resolve_file(str(asked), {}, "adapter")
        == str(path)
    )
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'[inputs]\nA = "{typed}/{typed}.safetensors"\n[steps]\nx = "A + 0.5*A"\n', "utf-8")
    assert read_recipe(recipe).inputs["A"] == path


def test_names_that_only_look_alike_are_not_guessed(tmp_path: Path) -> None:
    for name in (f"{COMPOSED}ab", f"{DECOMPOSED}a\u200bb"):
        (tmp_path / name).touch()
    asked = tmp_path / f"{COMPOSED}a\u2060b"
    assert stored_path(asked) == tmp_path / f"{COMPOSED}ab"
    (tmp_path / f"{DECOMPOSED}ab").touch()
    assert stored_path(tmp_path / f"{DECOMPOSED}ab") == tmp_path / f"{DECOMPOSED}ab"
