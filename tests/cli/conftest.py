"""Tiny models in one folder, and the command run in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from cli.kit import done, quiet_surroundings, run
from words.heard import said_in_chinese_too

__all__ = ["done", "models", "quiet_surroundings", "run", "said_in_chinese_too"]
WIDTH = 32


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a, b and c of SD 1.5 (b near a, c near b), hina (linear), style (with convolutions); never changed."""
    folder = tmp_path_factory.mktemp("models")
    first = tiny_checkpoint("sd1", seed=1, width_divisor=WIDTH)
    second = second_checkpoint(first, 0.003, 2)
    write_safetensors(folder / "a.safetensors", first, {"modelspec.title": "first"})
    write_safetensors(folder / "b.safetensors", second)
    write_safetensors(folder / "c.safetensors", second_checkpoint(second, 0.003, 3))
    hina = tiny_lora("sd1", rank=4, alpha=2, seed=5, width_divisor=WIDTH)
    write_safetensors(folder / "hina.safetensors", hina, {"ss_output_name": "hina"})
    style = tiny_lora("sd1", rank=4, alpha=4, conv_rank=2, seed=6, width_divisor=WIDTH)
    write_safetensors(folder / "style.safetensors", style)
    return folder
