"""Work that can be looked at before it is done: a function, its `prepare`, and what that gives."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Generic, ParamSpec, Protocol, cast

if TYPE_CHECKING:
    from loralathe.engine import InputUse, Plan, Report, RunOptions
    from loralathe.language import Recipe
    from loralathe.progress import Progress

P = ParamSpec("P")


@dataclass(frozen=True)
class Planned:
    """What a run would do, from headers alone.

    reads: how much of each input;  existing: files in its way, which it replaces with `force` only.
    """

    plan: Plan
    reads: tuple[InputUse, ...]
    existing: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A recipe, and how it runs."""

    recipe: Recipe
    options: RunOptions
    progress: Progress | None = None

    @property
    def formulas(self) -> dict[str, str]:
        """Step → its formula, as it is recorded."""
        from loralathe.language import render

        return {name: render(node) for name, node in self.recipe.steps.items()}

    def plan(self) -> Planned:
        """What `run` would do; only headers are read."""
        from loralathe.engine import base_warnings, check_outputs, existing_outputs, input_uses, open_session

        with open_session(self.recipe, self.options) as session:
            check_outputs(session, force=True)
            existing = existing_outputs(session)
            plan = replace(session.plan, warnings=(*session.plan.warnings, *base_warnings(session)))
            return Planned(plan, tuple(input_uses(session)), tuple(existing))

    def check(self) -> None:
        """Raises what `run` would raise before the first tensor is read: outputs that exist are an error."""
        from loralathe.engine import check_outputs, open_session

        with open_session(self.recipe, self.options) as session:
            check_outputs(session, force=self.options.force)

    def run(self, begins: Callable[[], None] | None = None) -> Report:
        """begins: called once all that headers can tell is checked, before the first tensor is read."""
        from loralathe.engine import run_recipe

        return run_recipe(self.recipe, self.options, self.progress, begins)


class Function(Protocol, Generic[P]):
    """A function that runs what its `prepare` gives."""

    prepare: Callable[P, Prepared]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Report: ...


def running(prepare: Callable[P, Prepared]) -> Function[P]:
    @wraps(prepare)
    def function(*args: P.args, **kwargs: P.kwargs) -> Report:
        return prepare(*args, **kwargs).run()

    signature = inspect.signature(prepare).replace(return_annotation="Report")
    function.__dict__.update(prepare=prepare, __signature__=signature)
    return cast(Function[P], function)
