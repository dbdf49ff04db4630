"""Files that our engine writes for others to read, made once for each family."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.engine import Report, RunOptions, run_recipe
from loralathe.language import Save, make_recipe

EXTRACTIONS = {
    "linear": "rank=4",
    "conv": "rank=4, conv_rank=2",
    "wide": "rank=24, conv_rank=12",
    "padded": "rank=24, conv_rank=12, pad_ranks=1",
}
"""The LoRA inside has rank 2: wider ones end at the noise of fp16, or at a layer's smaller side."""


@dataclass(frozen=True)
class Workshop:
    """A base, a LoRA that was trained on it, and the merge of both in fp16."""

    family: str
    folder: Path
    reports: dict[str, Report] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def make(self, name: str, formula: str, dtype: str | None = None) -> Report:
        """Write `name` unless it is there; every file of the folder is an input under its own name."""
        inputs = {file.stem: file for file in sorted(self.folder.iterdir()) if file.stem != name}
        save = Save(name, self.path(name), dtype)
        recipe = make_recipe(inputs=inputs, steps={name: formula}, saves=[save])
        return run_recipe(recipe, RunOptions(threads=1, hash_inputs=False, force=True))

    def extract(self, kind: str) -> Report:
        """lora_KIND.safetensors, made once."""
        if kind not in self.reports:
            self.reports[kind] = self.make(f"lora_{kind}", f"extract(merged - A, {EXTRACTIONS[kind]})")
        return self.reports[kind]


@pytest.fixture(scope="session", params=["sd1", "sdxl"])
def workshop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    family = request.param
    shop = Workshop(family, tmp_path_factory.mktemp(family))
    write_safetensors(shop.path("A"), tiny_checkpoint(family, seed=1))
    lora = tiny_lora(family, rank=2, conv_rank=2, alpha=1.0, seed=3)
    write_safetensors(shop.path("trained"), lora)
    shop.make("merged", "A + 0.7*trained")
    return shop
