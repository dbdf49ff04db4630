"""Messages name options as data: each door spells them its own way, and every one of them exists."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import click

import loralathe
from loralathe.cli import lathe
from loralathe.commands import as_flag, command_line
from loralathe.errors import InputError, LatheError, MachineError, Message, option

SOURCE = Path(loralathe.__file__).parent


def test_python_and_the_command_line() -> None:
    error = InputError(
        f"{option('rank')} is too large",
        where=option("output", "a b.safetensors"),
        fix=f"{option('allow_unmatched', True)}, {option('rank', 8)}, {option('vae', 'FILE')}, "
        f"{option('dtype', 'bf16')}, {option('variables', {'M': 0.5})} or {option('te1', False)}",
    )
    assert str(error) == (
        'rank is too large\n  where: output="a b.safetensors"\n  fix:   allow_unmatched=True, rank=8, '
        'vae=FILE, dtype="bf16", variables={"M": 0.5} or te1=False'
    )
    assert error.text(as_flag) == (
        "--rank is too large\n  where: -o 'a b.safetensors'\n  fix:   --allow-unmatched, --rank 8, "
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
        "lathe run 'my recipe.toml' --set M=-0.5 --set rank=4 --force"
    )
    assert command_line("merge", "a.safetensors", variables={}) == "lathe merge a.safetensors"


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
