"""A small checkpoint and a LoRA as files, and requests of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from checkpoints import write_safetensors
from loralathe.rendering import ImageRequest
from loralathe.strengths import AdapterUse
from rendering.conftest import make_checkpoint, make_lora

__all__ = ["Studio", "studio"]


@dataclass(frozen=True)
class Studio:
    """base: an SD 1.5 checkpoint;  lora: its LoRA, found in `loras` as `hina`."""

    base: Path
    lora: Path

    def requests(self, count: int, **changes: object) -> list[ImageRequest]:
        """They differ in seed and strength."""
        one = ImageRequest(
            str(self.base), prompt="a girl", negative="bad", steps=2, cfg=3.0, sampler="Euler a",
            width=64, height=64,
        )  # fmt: skip
        return [
            replace(one, **{"seed": n, "adapters": (AdapterUse(str(self.lora), n / 4, n / 4),), **changes})  # type: ignore[arg-type]
            for n in range(count)
        ]


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    folder = tmp_path_factory.mktemp("studio")
    (folder / "loras").mkdir()
    made = Studio(folder / "baseA.safetensors", folder / "loras" / "hina.safetensors")
    write_safetensors(made.base, make_checkpoint("sd1"))
    write_safetensors(made.lora, make_lora("sd1"))
    return made


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """As the processes that are begun have: sums are rounded alike then."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_cache_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
