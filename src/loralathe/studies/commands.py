"""What to type to get a cell's weights as a file: `lathe merge …`, or the recipe with its variables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from loralathe.commands import command_line
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse, argument_text, show_number, term_text

_TOKENS = re.compile(r"(^|[,=])\s*[RUX]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Recipe:
    """`command` is one line for a shell, `snippet` lines for a recipe; notes say what they cannot hold."""

    command: str
    snippet: str
    notes: tuple[str, ...]


def cell_recipe(
    request: ImageRequest,
    *,
    recipe_file: str | None = None,
    variables: tuple[tuple[str, float], ...] = (),
) -> Recipe | None:
    """How to make the weights behind a cell; None when they are the checkpoint's own.

    Notes are "steps" (start/stop cannot be merged), "tokens" (R, U or X in a list), and "apply" (the recipe's
    result, then the adapters on top).
    """
    uses = [use for use in request.adapters if use.te or use.unet]
    if recipe_file is not None:
        settings = {name: show_number(value) for name, value in variables}
        command = command_line("run", recipe_file, variables=settings)
        snippet = "[variables]\n" + "".join(f"{name} = {show_number(value)}\n" for name, value in variables)
        return Recipe(command, snippet, ("apply",) if uses else ())
    if not uses:
        return None
    return Recipe(
        command_line("merge", request.checkpoint, *map(argument_text, uses)),
        _toml(request, uses),
        _notes(uses),
    )


def _toml(request: ImageRequest, uses: list[AdapterUse]) -> str:
    names = _identifiers([Path(use.file).stem for use in uses])
    lines = ["[inputs]", f"A = {_quoted(request.checkpoint)}"]
    lines += [f"{name} = {_quoted(use.file)}" for name, use in zip(names, uses, strict=True)]
    terms = "".join(term_text(name, use) for name, use in zip(names, uses, strict=True))
    lines += [
        "",
        "[steps]",
        f"merged = {_quoted('A' + terms)}",
        "",
        "[save]",
        'merged = { file = "merged.safetensors" }',
    ]
    return "\n".join(lines) + "\n"


def _identifiers(stems: list[str]) -> list[str]:
    names: list[str] = []
    for stem in stems:
        name = re.sub(r"\W", "_", stem)
        name = f"lora_{name}" if not name[:1].isalpha() or name == "A" else name
        while name in names:
            name += "_"
        names.append(name)
    return names


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _notes(uses: list[AdapterUse]) -> tuple[str, ...]:
    notes = []
    if any(use.start is not None or use.stop is not None for use in uses):
        notes.append("steps")
    if any(use.blocks and "," in use.blocks and _TOKENS.search(use.blocks) for use in uses):
        notes.append("tokens")
    return tuple(notes)
