"""A search that really renders: what a recipe makes beside the base that it starts from, for bleed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import loralathe
from loralathe.studies.scorers import Scored


@dataclass(frozen=True)
class Redness:
    """The mean of the red channel, 0 to 1."""

    name: str = "red"

    def check(self) -> None:
        return

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        return [float(np.asarray(item.image)[..., 0].mean()) / 255 for item in items]


@pytest.mark.slow
def test_bleed_of_a_recipe_is_beside_the_model_that_it_starts_from(here: Path) -> None:
    with loralathe.open_recipe("article.toml", "B2", device="cpu") as model:
        prepared = loralathe.prepare_tune(
            model,
            prompt="hina, a girl",
            seed=7,
            steps=2,
            size="64x64",
            sampler="Euler",
            sweep=["M = 0, 0.7"],
            scorers=[Redness()],
            trigger="hina",
            budget=18,
            check_seeds=1,
            output="out",
        )
        report = prepared.run()
    assert [name for name, *_ in report.goals] == ["likeness", "bleed"]
    start = report.candidates[1]
    assert start.values[1] is not None
    assert start.values[1].mean != 0, "the recipe's result without the word is not the base's picture"
    recipe = Path("out/recommended.toml").read_text(encoding="utf-8")
    assert "[variables]" in recipe
    assert loralathe.plan("out/recommended.toml").plan.outputs


@pytest.mark.long
def test_a_recipe_that_is_opened_renders_the_file_that_it_saves(here: Path) -> None:
    keywords: dict[str, object] = {
        "prompt": "a girl", "seed": 7, "steps": 2, "size": "64x64", "sampler": "Euler",
    }  # fmt: skip
    with loralathe.open_recipe("article.toml", "B2", device="cpu") as model:
        (made,) = model.render(output="made", **keywords)
        with pytest.raises(loralathe.InputError, match="on a file"):
            model.blocks(prompt="a girl")
    loralathe.run("article.toml", output={"B2": "saved.safetensors", "lora2": "lora2.safetensors"})
    with loralathe.open_model("saved.safetensors", device="cpu") as saved:
        (drawn,) = saved.render(output="drawn", **keywords)
    assert (np.asarray(Image.open(made)) == np.asarray(Image.open(drawn))).all()
