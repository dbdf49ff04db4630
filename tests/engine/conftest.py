"""Tiny models of both families on disk, once for all engine tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.engine import Report, RunOptions, run_recipe
from loralathe.language import Save, make_recipe
from rendering.conftest import shallow

Some = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Family:
    """Files and tensors of one family: base A, another base B, a linear LoRA and one with convolutions."""

    name: str
    folder: Path
    tensors: Mapping[str, dict[str, torch.Tensor]]

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


@pytest.fixture(scope="session", params=["sd1", "sdxl"])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return build_family(request.param, tmp_path_factory)


@pytest.fixture(scope="session")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return build_family("sd1", tmp_path_factory)


@pytest.fixture(scope="session", params=["sd1", "sdxl"])
def whole_family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """With every layer."""
    return build_family(request.param, tmp_path_factory, lambda tensors: tensors)


def build_family(name: str, factory: pytest.TempPathFactory, some: Some = shallow) -> Family:
    """Without the deeper layers of text encoders and transformers: each tensor costs time."""
    folder = factory.mktemp(name)
    base = some(tiny_checkpoint(name, seed=1))
    tensors = {
        "A": base,
        "B": second_checkpoint(base, 2e-3, seed=2),
        "lora": some(tiny_lora(name, rank=4, alpha=2.0, seed=3)),
        "conv": some(tiny_lora(name, rank=4, alpha=1.0, conv_rank=2, seed=4)),
    }
    for key, held in tensors.items():
        write_safetensors(folder / f"{key}.safetensors", held, {"note": key} if key == "A" else None)
    return Family(name, folder, tensors)


Evaluate = Callable[..., dict[str, torch.Tensor]]


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., tuple[dict[str, torch.Tensor], Report]]:
    """Run one formula over a family's files; gives the saved tensors and the report."""

    def run(
        family: Family,
        formula: str,
        *,
        dtype: str | None = None,
        inputs: Mapping[str, Path] | None = None,
        blocks: Mapping[str, str] | None = None,
        variables: Mapping[str, float] | None = None,
        **options: object,
    ) -> tuple[dict[str, torch.Tensor], Report]:
        paths = inputs or {name: family.path(name) for name in family.tensors}
        output = tmp_path / f"out{len(list(tmp_path.iterdir()))}.safetensors"
        recipe = make_recipe(
            inputs=paths,
            steps={"result": formula},
            blocks=blocks,
            variables=variables,
            saves=[Save("result", output, dtype)],
        )
        report = run_recipe(recipe, RunOptions(hash_inputs=False, **options))  # type: ignore[arg-type]
        return load_file(output), report

    return run
