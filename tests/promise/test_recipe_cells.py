"""A cell of a recipe that is swept in memory is the picture of the file that `lathe run` saves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from loralathe.engine import evaluate_weights
from loralathe.language import read_recipe
from loralathe.rendering import LocalRenderer
from loralathe.studies.context import Context
from loralathe.studies.grid import GridOptions, run_grid
from promise.conftest import REQUEST, Atelier

RECIPE = """
[inputs]
A = "{family}.safetensors"
B = "{family}-near.safetensors"
hina = "loras/{family}-{kind}.safetensors"

[variables]
M = 0.7
rank = 4

[steps]
A1 = "A + 0.7*hina(te=0.5)@'IN04=0.3,OUT05=0,BASE=0.5'"
lora1 = "extract(A1 - A, rank=rank{conv})"
B2 = "B + 0.8*lora1 - M*(B - A)"

[save]
B2 = {{ file = "B2.safetensors", dtype = "{dtype}" }}
"""


@dataclass
class InMemory:
    """A recipe as studies see it; each result goes under a name of its own."""

    path: Path
    dtype: str
    held: dict[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)
    identity: str = "recipe"

    @property
    def file(self) -> str:
        return str(self.path)

    @property
    def variables(self) -> Mapping[str, float]:
        return read_recipe(self.path).variables

    def check(self, variables: Mapping[str, float]) -> None:
        read_recipe(self.path).with_variables(variables)

    def evaluate(self, variables: Mapping[str, float]) -> str:
        recipe = read_recipe(self.path).with_variables(variables)
        name = f"B2 {sorted(variables.items())}"
        self.held[name] = evaluate_weights(recipe, "B2", dtype=self.dtype)
        return name


def recipe_of(atelier: Atelier, family: str, kind: str, dtype: str) -> InMemory:
    atelier.base(family)
    atelier.near(family)
    path = atelier.folder / f"{family}-{dtype}.toml"
    conv = ", conv_rank=2" if kind == "conv" else ""
    path.write_text(RECIPE.format(family=family, kind=kind, dtype=dtype, conv=conv), encoding="utf-8")
    return InMemory(path, dtype)


def drawn(checkpoint: Path) -> np.ndarray[Any, Any]:
    found: list[Image.Image] = []
    with LocalRenderer("cpu") as renderer:
        request = replace(REQUEST, checkpoint=str(checkpoint))
        renderer.render([request], lambda _, image: found.append(image))
    return np.asarray(found[0])


@pytest.mark.parametrize(
    ("family", "kind", "dtype"),
    [
        ("sd1", "linear", "fp16"),
        pytest.param("sd1", "conv", "fp32", marks=pytest.mark.slow),
        pytest.param("sdxl", "linear", "bf16", marks=pytest.mark.slow),
    ],
)
@pytest.mark.long
def test_a_cell_is_the_saved_file(
    atelier: Atelier, family: str, kind: str, dtype: str, tmp_path: Path
) -> None:
    recipe = recipe_of(atelier, family, kind, dtype)
    with LocalRenderer("cpu", weights=recipe.held) as renderer:
        made = run_grid(
            GridOptions(
                replace(REQUEST, checkpoint="recipe"),
                tmp_path / "grid",
                x="M = -0.7, 0.7",
                context=Context(recipe=recipe),
                scorers=(),
                preview_seconds=0,
            ),
            renderer,
        )
    assert len(recipe.held) == 2
    pictures = []
    for cell, held in zip(made.cells, recipe.held.values(), strict=True):
        ((_, m),) = [pair for pair in cell.cell.variables if pair[0] == "M"]
        output = tmp_path / f"M{m}.safetensors"
        atelier.lathe("run", recipe.path, "--set", f"M={m}", "-o", output, "--quiet")
        saved = load_file(output)
        assert saved.keys() == held.keys()
        assert all(torch.equal(saved[key], tensor) for key, tensor in held.items())
        pictures.append(np.asarray(Image.open(tmp_path / "grid" / cell.file)))
        assert np.array_equal(pictures[-1], drawn(output))
    assert not np.array_equal(*pictures)
