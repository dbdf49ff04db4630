"""styles.csv as A1111 reads and applies it."""

from pathlib import Path

import pytest

from loralathe.errors import InputError
from loralathe.rendering.styles import apply_styles, read_styles

FILE = (
    "\ufeffname,prompt,negative_prompt\r\n"
    '#group,,\r\nfilm,"film still of {prompt},\r\ngrain",blurry\r\nsharp,"sharp, clean",\r\n'
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "styles.csv"
    path.write_bytes(FILE.encode())
    return path


def test_placeholder_takes_the_prompt_and_other_styles_follow_it(file: Path) -> None:
    styles = read_styles(file)
    assert list(styles) == ["film", "sharp"]
    assert apply_styles("a cat", "ugly", ["film", "sharp"], styles) == (
        "film still of a cat,\r\ngrain, sharp, clean",
        "ugly, blurry",
    )


def test_empty_texts_add_no_comma(file: Path) -> None:
    assert apply_styles("", "", ["sharp"], read_styles(file)) == ("sharp, clean", "")


def test_unknown_style_names_the_near_one(file: Path) -> None:
    with pytest.raises(InputError, match="there is no style 'flim'") as caught:
        apply_styles("", "", ["flim"], read_styles(file))
    assert "film" in str(caught.value.fix)


def test_file_without_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "styles.csv"
    path.write_text("a,b\n")
    with pytest.raises(InputError, match="does not name the columns"):
        read_styles(path)
