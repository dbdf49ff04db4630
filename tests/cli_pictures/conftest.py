"""Small models that render, in one folder, and the command run in this process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from checkpoints import second_checkpoint, write_safetensors
from cli.kit import Run
from loralathe.cli import lathe
from rendering.conftest import make_checkpoint, make_lora

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


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """baseA, baseB (SD 1.5), xl (SDXL), hina, mio, xlora, the folder loras, article.toml; never changed."""
    folder = tmp_path_factory.mktemp("studio")
    first = make_checkpoint("sd1")
    write_safetensors(folder / "baseA.safetensors", first)
    write_safetensors(folder / "baseB.safetensors", second_checkpoint(first, 0.02, 2))
    write_safetensors(folder / "xl.safetensors", make_checkpoint("sdxl"))
    write_safetensors(folder / "xlora.safetensors", make_lora("sdxl"))
    (folder / "loras").mkdir()
    for name, seed in (("hina", 5), ("mio", 6)):
        for place in (folder, folder / "loras"):
            write_safetensors(place / f"{name}.safetensors", make_lora("sd1", seed=seed))
    (folder / "article.toml").write_text(RECIPE, encoding="utf-8")
    return folder


@pytest.fixture
def here(tmp_path: Path, studio: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with links to the models, entered."""
    for path in studio.iterdir():
        (tmp_path / path.name).symlink_to(path, target_is_directory=path.is_dir())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def quiet_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No cache in the user's home, a terminal of 100 columns, no debugging."""
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("LATHE_DEBUG", raising=False)


@pytest.fixture
def run() -> Run:
    """`run("render", path, …)`: the command's result, with stdout, stderr and exit_code."""

    def call(*words: object) -> Result:
        return CliRunner().invoke(
            lathe, [os.fspath(w) if isinstance(w, Path) else str(w) for w in words], prog_name="lathe"
        )

    return call


@pytest.fixture
def done(run: Run) -> Run:
    """`run` that must end with 0."""

    def call(*words: object) -> Result:
        result = run(*words)
        assert result.exit_code == 0, result.output
        return result

    return call
