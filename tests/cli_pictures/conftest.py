"""Small models that render, in one folder, and the command run in this process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from checkpoints import second_checkpoint, write_safetensors
from cli.kit import done, quiet_surroundings, run
from rendering.conftest import make_checkpoint, make_lora
from words.heard import said_in_chinese_too

__all__ = ["done", "here", "quiet_surroundings", "run", "said_in_chinese_too", "studio"]
SMALL = {"modelspec.resolution": "64x64"}
"""What the models say of their size, so that commands of the pages run as they are printed."""
QUICK = ("--size", "64x64", "--steps", "2", "--seed", "7", "--device", "cpu", "--sampler", "Euler")

RECIPE = """
[inputs]
A    = "baseA.safetensors"
B    = "baseB.safetensors"
hina = "hina.safetensors"

[variables]
M = 0.7
rank = 4

[steps]
A1    = "A + 0.7*hina"
lora1 = "extract(A1 - A, rank=rank)"
B2    = "B + 0.8*lora1 - M*(B - A)"
lora2 = "extract(B2 - B, rank=rank)"

[save]
B2    = { file = "hina_B.safetensors" }
lora2 = { file = "hina_special.safetensors" }
"""

STYLES = """name,prompt,negative_prompt
film,"film still of {prompt}, grain",blurry
sharp,"sharp <lora:hina:0.7>",
"""


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """baseA, baseB (SD 1.5), xl (SDXL), hina, mio, xlora, loras, article.toml, styles.csv; never changed."""
    folder = tmp_path_factory.mktemp("studio")
    first = make_checkpoint("sd1")
    write_safetensors(folder / "baseA.safetensors", first, SMALL)
    write_safetensors(folder / "baseB.safetensors", second_checkpoint(first, 0.02, 2), SMALL)
    write_safetensors(folder / "xl.safetensors", make_checkpoint("sdxl"))
    write_safetensors(folder / "xlora.safetensors", make_lora("sdxl"))
    (folder / "loras").mkdir()
    for name, seed in (("hina", 5), ("mio", 6)):
        write_safetensors(folder / f"{name}.safetensors", make_lora("sd1", seed=seed))
        # One file with two names: whoever says `hina` means it.
        os.link(folder / f"{name}.safetensors", folder / "loras" / f"{name}.safetensors")
    (folder / "article.toml").write_text(RECIPE, encoding="utf-8")
    (folder / "embeddings").mkdir()
    width = first["cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"].shape[1]
    write_safetensors(folder / "embeddings" / "badhand.safetensors", {"emb_params": torch.ones(2, width)})
    (folder / "styles.csv").write_text(STYLES, encoding="utf-8")
    return folder


@pytest.fixture
def here(tmp_path: Path, studio: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with links to the models, entered."""
    for path in studio.iterdir():
        (tmp_path / path.name).symlink_to(path, target_is_directory=path.is_dir())
    monkeypatch.chdir(tmp_path)
    return tmp_path
