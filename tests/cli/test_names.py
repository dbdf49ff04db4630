"""Names of inputs and results."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loralathe.api.arguments import beside, formula_name
from loralathe.cli.options import split_assignments
from loralathe.errors import InputError
from loralathe.language import InputNames, Name, identifier, parse_expression


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hina", "hina"),
        ("animagine-xl-3.1", "animagine_xl_3_1"),
        ("1girl", "_1girl"),
        ("ひな v2", "ひな_v2"),
        ("lambda", "lambda_"),
        ("extract", "extract_"),
        ("---", "model"),
        ("ｈｉｎａ", "hina"),
    ],
)
def test_identifiers(text: str, name: str) -> None:
    assert identifier(text) == name


@given(st.text(max_size=40))
def test_formulas_read_every_identifier_back(text: str) -> None:
    name = identifier(text)
    assert parse_expression(name) == Name(name)


def test_each_file_has_one_name_of_its_own() -> None:
    names = InputNames({"merged"})
    assert names.name(Path("x/hina.safetensors")) == "hina"
    assert names.name(Path("y/hina.safetensors")) == "hina_2"
    assert names.name(Path("y/../x/hina.safetensors").resolve().relative_to(Path.cwd())) == "hina"
    assert names.name(Path("merged.safetensors")) == "merged_2"
    assert list(names.inputs) == ["hina", "hina_2", "merged_2"]


def test_assignments_keep_windows_paths_equal_signs_and_spaces() -> None:
    words = ["A=C:\\models\\base A.safetensors", "B=/m/x=y.safetensors", "ひな= ./ひな.safetensors"]
    assert split_assignments(words, "an input", "") == {
        "A": "C:\\models\\base A.safetensors",
        "B": "/m/x=y.safetensors",
        "ひな": "./ひな.safetensors",
    }


@pytest.mark.parametrize("word", ["A", "=x", "A=", "A= "])
def test_assignments_need_both_sides(word: str) -> None:
    with pytest.raises(InputError, match="an input is written NAME=VALUE"):
        split_assignments([word], "an input", "A=base.safetensors")


def test_a_name_is_given_once() -> None:
    with pytest.raises(InputError, match="'A' is given twice"):
        split_assignments(["A=1", "A=2"], "--set", "")


def test_results_stand_beside_the_first_input_under_a_harmless_name() -> None:
    assert beside(Path("m/a.safetensors"), "a+hina0.7") == Path("m/a+hina0.7.safetensors")
    assert beside(Path("a.safetensors"), 'x@"1,0"?*/\\:<>|') == Path("x@1,0.safetensors")
    assert beside(Path("a.safetensors"), "...") == Path("result.safetensors")


@given(st.text(max_size=300))
def test_names_of_results_fit_into_a_folder(text: str) -> None:
    path = beside(Path("m/a.safetensors"), text)
    assert path.parent == Path("m")
    assert len(path.name.encode("utf-8", "surrogatepass")) <= 140


def test_formulas_become_names() -> None:
    inputs = {"B": Path("m/baseB.safetensors"), "lora": Path("hina.safetensors")}
    assert formula_name("B + 0.8*lora@X - M*(B - A)", inputs) == "baseB+0.8*hina@X-M*(baseB-A)"
