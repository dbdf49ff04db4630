"""What we write with somebody's text in it reads back as it was, or is refused: whatever the text."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from loralathe import merge, preset_lists, read_settings, remember, verify, write_preset, write_settings
from loralathe.commands import quoted
from loralathe.engine.record import read_record
from loralathe.errors import InputError, Message, visible, whole
from loralathe.language import Save, make_recipe, parse_expression, read_recipe, recipe_text, render
from loralathe.rendering import ImageRequest
from loralathe.rendering.infotext import Hashes, infotext, png_text, read_infotext
from loralathe.rendering.png import png_bytes, read_picture
from loralathe.rendering.styles import read_styles
from loralathe.strengths import AdapterUse
from loralathe.studies.store import SeedBook
from loralathe.studies.study_file import Identity, claim_folder, csv_file
from loralathe.tensorfiles import text_bytes
from loralathe.tensorfiles.header import encode_header

NASTY = (
    "A:", "\\", '"', "'", "\x00", "\x1f", "\x7f", "\x85", "\u2028", "\r", "\n", "\r\n", "\t", "#", "=", ",",
    ":", "\ufeff", "\ud800", "\udcff", "{", "}", "[", "]", " ", "$", "`", "!", "%", "猫", "\U0001f431", "<",
    ">", "e\u0301", "Steps: 20", "Negative prompt:", "'''", '"""', "\\u0041", "\\x41", "1e5", "-", "(", ")",
    "\ufdd0rank\ufdd18\ufdd2", "\u202e", "\u200b",
)  # fmt: skip
TEXTS = st.one_of(
    st.text(st.characters(), max_size=20),
    st.lists(st.sampled_from(NASTY) | st.text(max_size=2), max_size=6).map("".join),
)
any_text = settings(deadline=None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


def has_half(*texts: str) -> bool:
    """Whether a file in UTF-8 cannot hold one of them."""
    return any("\ud800" <= sign <= "\udfff" for text in texts for sign in text)


@any_text
@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_recipes(place: Path, first: str, second: str, key: str, comment: str) -> None:
    recipe = make_recipe(
        inputs={"A": Path(first)},
        steps={"out": "A"},
        blocks={"L": second},
        saves=[Save("out", Path(second), discard=first, metadata={key: first})],
    )
    file = place / "r.toml"
    try:
        file.write_bytes(text_bytes(Message(recipe_text(recipe, [comment])), "r.toml"))
    except InputError:
        assert has_half(first, second, key)
        return
    found = read_recipe(file)
    assert found.inputs["A"] in (place / first, Path(visible(str(place / first))))
    assert found.blocks == recipe.blocks
    (save,) = found.saves
    assert (save.discard, save.metadata) == (first, {key: first})
    assert save.file == place / second


@settings(deadline=None, max_examples=settings().max_examples // 2)
@given(TEXTS, TEXTS, st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 2**64))
def test_profiles(place: Path, prompt: str, style: str, cfg: float, seed: int) -> None:
    values = {"prompt": prompt, "style": [style, prompt], "cfg": cfg, "seed": seed}
    file = place / "p.toml"
    try:
        write_settings(file, values, force=True)
    except InputError:
        assert has_half(prompt, style)
        return
    assert read_settings(file).values == values


@any_text
@given(TEXTS, TEXTS)
def test_block_lists(place: Path, name: str, text: str) -> None:
    file = place / "lists.txt"
    file.write_text("# mine\nOld:1,0,0,0,0,0,0,0,0,0,0,0\n")
    before = file.read_bytes()
    try:
        write_preset(file, name, text)
    except InputError:
        assert file.read_bytes() == before
        return
    assert preset_lists(file)[name.strip()] == text.strip()
    write_preset(file, name, None)
    if name.strip() != "Old":
        assert file.read_bytes() == before


@any_text
@given(TEXTS, TEXTS)
def test_commands(first: str, second: str) -> None:
    words = [word.replace("\0", "") for word in (first, second)]
    assert shlex.split(" ".join(quoted(word, "posix") for word in words)) == words


@any_text
@given(TEXTS, TEXTS)
def test_headers(first: str, second: str) -> None:
    try:
        data = encode_header([], {first: second})
    except InputError:
        assert has_half(first, second)
        return
    assert json.loads(data[8:])["__metadata__"] == {first: second}


@any_text
@given(TEXTS, TEXTS)
def test_formulas(first: str, second: str) -> None:
    with suppress(InputError):
        node = parse_expression(f"A + 0.7*lora(elements={first!r})@{second!r}")
        assert parse_expression(render(node)) == node
        assert render(parse_expression(render(node))) == render(node)


@any_text
@given(TEXTS, TEXTS)
def test_infotexts(place: Path, vae: str, name: str) -> None:
    """Names of files; prompts with lines like ours cannot be told from ours, as in A1111."""
    assume(vae and Path(vae).name == vae)
    request = ImageRequest("m", f"vae/{vae}", prompt="x", adapters=(AdapterUse(f"{name}.safetensors"),))
    text = infotext(request, Hashes(adapters={name: "a" * 64}))
    entries = read_infotext(text).entries
    assert entries["VAE"] == vae
    assert entries["Rendered by"].startswith("loralathe ")
    image = Image.new("RGB", (1, 1))
    image.info["parameters"] = text
    (place / "x.png").write_bytes(png_bytes(image))
    assert png_text(place / "x.png") == whole(text)


@any_text
@given(TEXTS)
def test_tables(text: str) -> None:
    found = csv_file([[text, "x"], ["y", text]]).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(found, newline=""))) == [[whole(text), "x"], ["y", whole(text)]]


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows refuse such names")
def test_names_that_are_no_text(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record spells them; the file is found again by its content, or by its name where no hash is known."""
    lora = (few / "lora.safetensors").rename(few / "l\udcff.safetensors")
    for hashes in (True, False):
        out = few / "o\udcfe.safetensors"
        merge(few / "A.safetensors", lora, output=out, hash_inputs=hashes, threads=1)
        record = read_record(out)
        assert record.inputs["l"].file == "l\\udcff.safetensors"
        assert verify(out, threads=1).ok
        out.unlink()
    config = few / "config.toml"
    monkeypatch.setenv("LORALATHE_CONFIG", str(config))
    (few / "d\udcff").mkdir()
    with pytest.raises(InputError, match="holds half a character, which no file can hold"):
        remember("lora_dir", few / "d\udcff")
    assert not config.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for read in (read_styles, read_recipe, png_text, read_picture, read_settings):
        with pytest.raises(InputError, match="not a regular file"):
            read(pipe)
    for name in ("study.json", "seeds.json"):
        os.mkfifo(tmp_path / name)
    assert SeedBook(tmp_path, lambda: 7).next() == 7
    claim_folder(tmp_path, Identity({}, {}), force=False)
    assert json.loads((tmp_path / "study.json").read_text())["facts"] == {}


def test_styles_that_are_no_table(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_text(f'name,prompt,negative_prompt\nx,"{"y" * 200_000}",\n')
    with pytest.raises(InputError, match="the styles cannot be read"):
        read_styles(tmp_path / "styles.csv")
