"""What to type to get a cell's weights as a file: `lathe merge …`, or the recipe with its variables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from loralathe.commands import command_line
from loralathe.rendering.request import AdapterUse, ImageRequest
from loralathe.studies.values import show_number

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
        command_line("merge", request.checkpoint, *map(adapter_argument, uses)),
        _toml(request, uses),
        _notes(uses),
    )


def adapter_argument(use: AdapterUse) -> str:
    """`PATH:STRENGTH` or `PATH:te=X:unet=Y`, then `[:lbw=B][:lbwe=E]`, which `parse_spec` reads back."""
    items = [use.file]
    if use.te == use.unet:
        items.append(show_number(use.te))
    else:
        items += [f"te={show_number(use.te)}", f"unet={show_number(use.unet)}"]
    if use.blocks:
        items.append(f"lbw={use.blocks}")
    if use.elements:
        items.append(f"lbwe={use.elements}")
    return ":".join(items)


def _toml(request: ImageRequest, uses: list[AdapterUse]) -> str:
    names = _identifiers([Path(use.file).stem for use in uses])
    lines = ["[inputs]", f"A = {_quoted(request.checkpoint)}"]
    lines += [f"{name} = {_quoted(use.file)}" for name, use in zip(names, uses, strict=True)]
    terms = "".join(_term(name, use) for name, use in zip(names, uses, strict=True))
    lines += [
        "",
        "[steps]",
        f"merged = '''A{terms}'''",
        "",
        "[save]",
        'merged = { file = "merged.safetensors" }',
    ]
    return "\n".join(lines) + "\n"


def _term(name: str, use: AdapterUse) -> str:
    calls = []
    if use.te != use.unet:
        calls += [f"te={show_number(use.te)}", f"unet={show_number(use.unet)}"]
    if use.elements:
        calls.append(f'elements="{use.elements}"')
    factor = use.unet if use.te == use.unet else 1.0
    strength = "" if abs(factor) == 1 else f"{show_number(abs(factor))}*"
    called = f"{name}({', '.join(calls)})" if calls else name
    at = f'@"{use.blocks}"' if use.blocks else ""
    return f" {'-' if factor < 0 else '+'} {strength}{called}{at}"


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
