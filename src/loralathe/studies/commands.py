"""What to type to get a cell's weights as a file: `lathe merge …`, or the recipe with its variables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loralathe.commands import command_line
from loralathe.language import InputNames, Recipe, Save, make_recipe, toml_key, toml_text
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import AdapterUse, argument_text, has_tokens, show_number, term_text

MODEL, MERGED = "A", "merged"
"""What the snippet calls the checkpoint and the result."""


@dataclass(frozen=True, slots=True)
class CellRecipe:
    """`command` is one line for a shell, `snippet` lines for a recipe; notes say what they cannot hold."""

    command: str
    snippet: str
    notes: tuple[str, ...]


def cell_recipe(
    request: ImageRequest,
    *,
    recipe_file: str | None = None,
    variables: tuple[tuple[str, float], ...] = (),
) -> CellRecipe | None:
    """How to make the weights behind a cell; None when they are the checkpoint's own.

    Notes are "steps" (start/stop cannot be merged), "tokens" (R, U or X in a list), and "apply" (the recipe's
    result, then the adapters on top).
    """
    uses = [use for use in request.adapters if use.te or use.unet]
    if recipe_file is not None:
        settings = {name: show_number(value) for name, value in variables}
        command = command_line("run", recipe_file, variables=settings)
        lines = [f"{toml_key(name)} = {value}\n" for name, value in settings.items()]
        return CellRecipe(command, "[variables]\n" + "".join(lines), ("apply",) if uses else ())
    if not uses:
        return None
    return CellRecipe(
        command_line("merge", request.checkpoint, *map(argument_text, uses)),
        _toml(request, uses),
        _notes(uses),
    )


def model_recipe(request: ImageRequest) -> Recipe | None:
    """The recipe that `cell_recipe` shows, to be run; None where a file cannot hold what acts in the
    picture.
    """
    uses = [use for use in request.adapters if use.te or use.unet]
    if not uses or _notes(uses):
        return None
    files, formula = _formula(request, uses)
    return make_recipe(
        inputs={name: Path(file) for name, file in files.items()},
        steps={MERGED: formula},
        saves=[Save(MERGED, Path(f"{MERGED}.safetensors"))],
    )


def _formula(request: ImageRequest, uses: list[AdapterUse]) -> tuple[dict[str, str], str]:
    """Name → file, and the sum of them."""
    names = InputNames({MODEL, MERGED, *(use.blocks for use in uses if use.blocks)})
    files = {MODEL: request.checkpoint} | {names.name(use.path): use.file for use in uses}
    return files, MODEL + "".join(term_text(names.name(use.path), use) for use in uses)


def _toml(request: ImageRequest, uses: list[AdapterUse]) -> str:
    files, formula = _formula(request, uses)
    lines = [
        "[inputs]",
        *(f"{toml_key(name)} = {toml_text(file)}" for name, file in files.items()),
        "",
        "[steps]",
        f"{MERGED} = {toml_text(formula)}",
        "",
        "[save]",
        f'{MERGED} = {{ file = "{MERGED}.safetensors" }}',
    ]
    return "\n".join(lines) + "\n"


def _notes(uses: list[AdapterUse]) -> tuple[str, ...]:
    notes = []
    if any(use.start is not None or use.stop is not None for use in uses):
        notes.append("steps")
    if any(use.blocks and has_tokens(use.blocks) for use in uses):
        notes.append("tokens")
    return tuple(notes)
