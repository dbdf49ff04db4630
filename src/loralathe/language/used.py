"""What the saved steps of a recipe use, directly or through other steps."""

from __future__ import annotations

from loralathe.language.document import Recipe
from loralathe.language.syntax import block_texts, value_names


def used_names(recipe: Recipe) -> set[str]:
    """Names of steps, inputs, variables and block lists that the saved steps mention."""
    used: set[str] = set()
    waiting = [save.step for save in recipe.saves]
    while waiting:
        name = waiting.pop()
        if name in used:
            continue
        used.add(name)
        if name in recipe.steps:
            node = recipe.steps[name]
            waiting += [*(found.id for found in value_names(node)), *block_texts(node)]
    return used


def unused_names(recipe: Recipe) -> tuple[str, ...]:
    """Inputs, variables and block lists that no saved step mentions, in the order of the recipe."""
    used = used_names(recipe)
    return tuple(name for name in (*recipe.inputs, *recipe.variables, *recipe.blocks) if name not in used)
