"""What a child of the fork server does: a recipe of one or two outputs, or a grid of drawn pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

Request = Mapping[str, object]
TWO_STEPS = {"merged": "A + 0.7*lora + 0.5*(B - A)", "difference": "extract(merged - A, rank=2)"}


def formula(folder: Path, request: Request) -> None:
    """`out = formula` over the folder's A, B and lora."""
    from loralathe.engine import run_recipe
    from robustness.workdir import recipe_in

    out = str(request.get("out", "out.safetensors"))
    run_recipe(recipe_in(folder, str(request["formula"]), out=out), _options(request))


def two_outputs(folder: Path, request: Request) -> None:
    """A checkpoint and an adapter, merged.safetensors and difference.safetensors, of one run."""
    from loralathe.engine import run_recipe
    from loralathe.language import Save, make_recipe

    inputs = {name: folder / f"{name}.safetensors" for name in ("A", "B", "lora")}
    saves = [Save(step, folder / f"{step}.safetensors") for step in TWO_STEPS]
    run_recipe(make_recipe(inputs=inputs, steps=TWO_STEPS, saves=saves), _options(request))


def grid(folder: Path, request: Request) -> None:
    """Six pictures in the folder's `study`, drawn, not rendered."""
    from loralathe.studies.grid import GridOptions, run_grid
    from studies import fakes

    options = GridOptions(
        fakes.request(), folder / "study", x="hina = 0, 0.5, 1", y="seed = 1, 2", preview_seconds=0
    )
    run_grid(options, fakes.FakeRenderer())


JOBS: dict[str, Callable[[Path, Request], None]] = {
    "formula": formula,
    "two outputs": two_outputs,
    "grid": grid,
}


def _options(request: Request):  # type: ignore[no-untyped-def]
    from loralathe.engine import RunOptions

    threads = int(str(request.get("threads", 2)))
    return RunOptions(threads=threads, force=bool(request.get("force")), hash_inputs=False)
