"""Three models and two LoRAs of each family, and one formula run over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.engine import Report, RunOptions, run_recipe
from loralathe.language import Save, make_recipe
from rendering.conftest import shallow


@dataclass(frozen=True)
class Models:
    """Files and tensors: A, B and C are models, `lora` and `other` LoRAs."""

    family: str
    folder: Path
    tensors: Mapping[str, dict[str, torch.Tensor]]

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    @property
    def paths(self) -> dict[str, Path]:
        return {name: self.path(name) for name in self.tensors}

    def exact(self, name: str) -> dict[str, np.ndarray]:
        """Float tensors in float64, integer ones left out."""
        held = self.tensors[name]
        return {key: value.double().numpy() for key, value in held.items() if value.is_floating_point()}


DIVISORS = {"sd1": 32, "sdxl": 64}
"""Widths divided; deeper layers of the same kind are left out, too: a method costs time in each."""


def build_models(family: str, factory: pytest.TempPathFactory) -> Models:
    folder = factory.mktemp(f"functions-{family}")
    divisor = DIVISORS[family]
    base = shallow(tiny_checkpoint(family, seed=11, width_divisor=divisor))
    tensors = {
        "A": base,
        "B": second_checkpoint(base, 2e-2, seed=12),
        "C": second_checkpoint(base, 1e-2, seed=13),
        "lora": shallow(tiny_lora(family, rank=4, alpha=2.0, seed=14, width_divisor=divisor)),
        "other": shallow(tiny_lora(family, rank=2, alpha=2.0, seed=15, width_divisor=divisor)),
    }
    for name, held in tensors.items():
        write_safetensors(folder / f"{name}.safetensors", held)
    return Models(family, folder, tensors)


@pytest.fixture(scope="session", params=["sd1", "sdxl"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Models:
    return build_models(request.param, tmp_path_factory)


@pytest.fixture(scope="session")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return build_models("sd1", tmp_path_factory)


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return build_models("sdxl", tmp_path_factory)


Run = Callable[..., tuple[dict[str, torch.Tensor], Report]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run one formula through `run_recipe`; gives what was written and the report."""

    def evaluate(
        models: Models,
        formula: str,
        *,
        dtype: str | None = "fp32",
        variables: Mapping[str, float] | None = None,
        blocks: Mapping[str, str] | None = None,
        discard: str | None = None,
        **options: object,
    ) -> tuple[dict[str, torch.Tensor], Report]:
        output = tmp_path / f"out{len(list(tmp_path.iterdir()))}.safetensors"
        recipe = make_recipe(
            inputs=models.paths,
            steps={"result": formula},
            variables=variables,
            blocks=blocks,
            saves=[Save("result", output, dtype, discard=discard)],
        )
        report = run_recipe(recipe, RunOptions(hash_inputs=False, **options))  # type: ignore[arg-type]
        return load_file(output), report

    return evaluate
