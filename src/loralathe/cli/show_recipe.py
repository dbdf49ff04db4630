"""The recipe a command runs, before it runs."""

from __future__ import annotations

from loralathe.cli.layout import Facts
from loralathe.cli.screen import Screen, heading
from loralathe.language import Recipe, render


def show_recipe(screen: Screen, recipe: Recipe) -> None:
    """Formulas, and the files, numbers and lists that their names stand for."""
    steps = {name: render(node) for name, node in recipe.steps.items()}
    screen.event(
        "recipe",
        steps=steps,
        inputs=recipe.inputs,
        variables=recipe.variables,
        blocks=recipe.blocks,
        save={save.step: save.file for save in recipe.saves},
    )
    if screen.quiet:
        return
    if len(steps) == 1:
        screen.show(heading(next(iter(steps.values()))))
    else:
        width = max(map(len, steps), default=0)
        for name, text in steps.items():
            screen.show(heading(f"{name:<{width}} = {text}"))
    rows = [(name, str(path)) for name, path in recipe.inputs.items()]
    rows += [(name, f"{value:g}") for name, value in recipe.variables.items()]
    rows += list(recipe.blocks.items())
    screen.show(Facts(rows))
