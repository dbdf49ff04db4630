"""Messages name options as data: each door spells them its own way, and every one of them exists."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click
import pytest

import loralathe
from loralathe.cli import lathe
from loralathe.commands import as_flag, command_line, quoted
from loralathe.errors import InputError, LatheError, MachineError, Message, option

SOURCE = Path(loralathe.__file__).parent


def test_python_and_the_command_line() -> None:
    error = InputError(
        f"{option('rank')} is beyond reason",
        where=option("output", "a b.safetensors"),
        fix=f"{option('allow_unmatched', True)}, {option('rank', 8)}, {option('vae', 'FILE')}, "
        f"{option('dtype', 'bf16')}, {option('variables', {'M': 0.5})} or {option('te1', False)}",
    )
    assert str(error) == (
        'rank is beyond reason\n  where: output="a b.safetensors"\n  fix:   allow_unmatched=True, rank=8, '
        'vae=FILE, dtype="bf16", variables={"M": 0.5} or te1=False'
    )
    assert error.text(as_flag) == (
        '--rank is beyond reason\n  where: -o "a b.safetensors"\n  fix:   --allow-unmatched, --rank 8, '
        "--bake-vae FILE, --dtype bf16, --set M=0.5 or --no-te1"
    )


def test_an_error_that_repeats_another_keeps_its_options() -> None:
    inner = InputError("x", fix=f"add {option('force', True)}")
    assert LatheError(inner.what, fix=inner.fix).text(as_flag).endswith("fix:   add --force")
    assert inner.fix == "add force=True"


def test_other_peoples_characters_are_no_options() -> None:
    text = "\ufdd0name\ufdd1{\ufdd2 \ufdd0 \ufdd1\ufdd2"
    assert Message(text) == text
    assert str(MachineError(text)) == text


def test_whole_commands() -> None:
    assert command_line("run", "my recipe.toml", variables={"M": -0.5, "rank": 4}, force=True) == (
        'lathe run "my recipe.toml" --set M=-0.5 --set rank=4 --force'
    )
    assert command_line("merge", "a.safetensors", variables={}) == "lathe merge a.safetensors"


WORDS = {
    "plain": [
        "a.safetensors",
        "hina.safetensors:te=0.5:unet=-1",
        "日本語/é.safetensors",
        "C:/x.png",
        "M=-0.5",
    ],
    "quoted": [
        "a b",
        "x=1,0",
        "",
        "it's",
        "<lora:hina>",
        "~/a",
        "a;b",
        "*",
        "@x",
        "{}",
        "#1",
        "x = 'a, b', 'c'",
    ],
    "hard": ['say "hi"', "$HOME", "`x`", "wow!", "back\\slash", "end\\", 'a\\"b'],
}


@pytest.mark.parametrize("system", ["posix", "nt"])
def test_words_are_quoted_for_the_shells_of_their_system(system: str) -> None:
    for word in WORDS["plain"]:
        assert quoted(word, system) == word
    for word in WORDS["quoted"]:
        assert quoted(word, system) == f'"{word}"'
    for word in chain.from_iterable(WORDS.values()):
        shown = quoted(word, system)
        assert (shlex.split(shown) if system == "posix" else windows_words(shown)) == [word]


def windows_words(line: str) -> list[str]:
    """How a program of Windows cuts its command line, by the rules of Microsoft's C runtime since 2008."""
    words, word, within, at = [], "", False, 0
    while at < len(line):
        slashes = len(line[at:]) - len(line[at:].lstrip("\\"))
        at += slashes
        if line[at : at + 1] != '"':
            word += "\\" * slashes
            if slashes == 0 and line[at] == " " and not within:
                words, word, at = [*words, word], "", at + 1
            elif slashes == 0:
                word, at = word + line[at], at + 1
        elif slashes % 2:
            word, at = word + "\\" * (slashes // 2) + '"', at + 1
        else:
            word, at = word + "\\" * (slashes // 2), at + 1
            if within and line[at : at + 1] == '"':
                word, at = word + '"', at + 1
            else:
                within = not within
    return [*words, word]


def test_windows_paths_stay_as_they_are() -> None:
    assert quoted(r"C:\models\a.safetensors", "nt") == r"C:\models\a.safetensors"
    assert quoted("C:\\my models\\", "nt") == '"C:\\my models\\\\"'


def named_options() -> Iterator[tuple[str, str]]:
    """(file, option) of every `option("…")` with a plain name."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "option":
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    yield path.name, str(name.value)


def test_every_option_that_a_message_names_exists() -> None:
    assert isinstance(lathe, click.Group)
    commands = [lathe.get_command(click.Context(lathe), name) for name in lathe.list_commands(None)]  # type: ignore[arg-type]
    flags = {flag for command in commands if command for one in command.params for flag in one.opts}
    named = list(named_options())
    assert len(named) > 30
    assert [(file, name) for file, name in named if as_flag(name, None) not in flags] == []
