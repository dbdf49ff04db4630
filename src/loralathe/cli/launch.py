"""Run a recipe for a command: show what will be done, do it, show what was done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.cli.options import Common
from loralathe.cli.screen import Screen
from loralathe.language import Recipe, unused_names

if TYPE_CHECKING:
    from loralathe.engine import Report, RunOptions


def launch(recipe: Recipe, common: Common, run: RunOptions | None = None) -> Report | None:
    """Run the recipe with the common options, or show its plan with --dry-run (then None).

    run: how, where it is not just what the common options say.
    """
    import loralathe
    from loralathe.cli.show_recipe import show_recipe

    run = run or common.run_options()
    screen = Screen(common.as_json, common.quiet)
    show_recipe(screen, recipe)
    if unused := unused_names(recipe):
        screen.note(f"nothing that is saved uses {', '.join(unused)}")
    if common.dry_run:
        from loralathe.cli.show_plan import show_plan

        show_plan(screen, loralathe.plan(recipe, options=run))
        return None
    report = loralathe.run(recipe, options=run, progress=screen.progress())
    from loralathe.cli.show_report import show_report

    show_report(screen, report)
    return report


def read_presets(screen: Screen, path: Path | None) -> dict[str, str]:
    """Block lists of a preset file; broken lines are noted and passed over."""
    if path is None:
        return {}
    from loralathe.strengths import read_preset_file

    found = read_preset_file(path)
    for problem in found.problems:
        screen.note(f"{path.name}, {problem}")
    return dict(found.presets)
