"""Commands of the pages that no other test runs, exactly as printed, each in a folder with what it names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from cli.kit import quiet_surroundings
from loralathe.cli import lathe
from loralathe.rendering import LocalRenderer
from loralathe.rendering.png import png_bytes
from printed import ROOT, commands_in
from rendering.conftest import Tensors
from studies.fakes import draw

__all__ = ["quiet_surroundings"]
READMES = ("README.md", "README.zh-TW.md")
PAGES = (
    "docs/loras.md",
    "docs/api.md",
    "docs/semantics.md",
    "docs/reliability.md",
)
COMMANDS = sorted(
    {
        line
        for page in PAGES
        for line in commands_in((ROOT / page).read_text("utf-8"))
        if line.startswith("lathe")
    }
)
CHECKPOINTS = ("baseA", "baseB", "base", "tuned", "merged", "B1")
ADAPTERS = ("hina", "hina2", "sailor", "style", "mio")
DEMO = ("baseA", "baseB", "hina", "sailor", "B1")
"""What `lathe demo` leaves, and the README's commands start from."""
VAE = ("encoder.conv_in", "decoder.conv_out", "quant_conv", "post_quant_conv")
"""All that is kept of it: its other tensors would take longer than everything else."""


def shallowest(tensors: Tensors) -> Tensors:
    """The first layer of each text encoder and transformer."""
    deeper = re.compile(r"(?:encoder[._]layers|resblocks|transformer_blocks)[._][1-9]")
    return {key: tensor for key, tensor in tensors.items() if not deeper.search(key)}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file that the pages name, of a small SDXL that says its size; the recipe is the README's."""
    folder = tmp_path_factory.mktemp("shelf")
    first = {
        key: tensor
        for key, tensor in shallowest(tiny_checkpoint("sdxl", seed=1, width_divisor=64)).items()
        if not key.startswith("first_stage_model.") or key.split(".", 1)[1].rsplit(".", 1)[0] in VAE
    }
    for number, name in enumerate(CHECKPOINTS):
        model = second_checkpoint(first, 0.003, number)
        write_safetensors(folder / f"{name}.safetensors", model, {"modelspec.resolution": "64x64"})
    for number, name in enumerate(ADAPTERS):
        lora = shallowest(tiny_lora("sdxl", rank=4, alpha=2, seed=number, width_divisor=64))
        write_safetensors(folder / f"{name}.safetensors", lora)
    write_safetensors(folder / "hina_dora.safetensors", lora | scales(lora))
    write_safetensors(folder / "hina_lokr.safetensors", kroneckers(lora))
    torch.save({"state_dict": first}, folder / "old.ckpt")
    vae = {key.removeprefix("first_stage_model."): tensor for key, tensor in first.items() if "stage" in key}
    torch.save({"state_dict": vae}, folder / "anime.vae.pt")
    (folder / "article.toml").write_text(recipe_of("README.md"), encoding="utf-8")
    noted = Image.new("RGB", (8, 8))
    noted.info["parameters"] = "a girl\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 8x8"
    (folder / "girl.png").write_bytes(png_bytes(noted))
    made = CliRunner().invoke(lathe, ["run", str(folder / "article.toml")], prog_name="lathe")
    assert made.exit_code == 0, made.output
    return folder


def recipe_of(page: str) -> str:
    """The only recipe that a page prints."""
    (recipe,) = re.findall(r"```toml\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    return str(recipe)


def scales(lora: Tensors) -> Tensors:
    """What makes a DoRA of it: the lengths of the weights for each output."""
    ups = {key: tensor for key, tensor in lora.items() if key.endswith(".lora_up.weight")}
    return {
        key.replace("lora_up.weight", "dora_scale"): torch.ones(up.shape[0], *[1] * (up.dim() - 1))
        for key, up in ups.items()
    }


def kroneckers(lora: Tensors) -> Tensors:
    """A LoKr of the same layers."""
    found = {}
    for key, down in lora.items():
        if key.endswith(".lora_down.weight"):
            stem = key.removesuffix(".lora_down.weight")
            found[f"{stem}.lokr_w1"] = torch.full((1, 1), 0.1)
            found[f"{stem}.lokr_w2"] = torch.ones(len(lora[f"{stem}.lora_up.weight"]), *down.shape[1:])
    return found


@pytest.fixture
def here(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, entered, with what every command may look for: bases and loras."""
    for name, files in (("bases", ("baseA", "baseB", "hina")), ("loras", ADAPTERS)):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / f"{file}.safetensors").symlink_to(shelf / f"{file}.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_commands_on_these_pages() -> None:
    commands = [*COMMANDS, *commands_of("README.md")]
    assert len(commands) > 25
    named = {command.split()[1] for command in commands}
    assert named >= {
        "inspect",
        "merge",
        "extract",
        "combine",
        "resize",
        "run",
        "verify",
        "grid",
        "blocks",
        "render",
    }


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs_as_it_is_printed(
    here: Path, shelf: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalRenderer, "render", draw)
    _, *words = shlex.split(command)
    inputs = [f"{name}.safetensors" for name in ("baseA", "baseB", "hina")] if "article.toml" in words else []
    for name in {*inputs, *re.findall(r"[\w.]+\.(?:safetensors|toml|ckpt|png|pt)", command)}:
        if (shelf / name).exists():
            (here / name).symlink_to(shelf / name)
    result = CliRunner().invoke(lathe, words, prog_name="lathe")
    assert result.exit_code == 0, result.output


def commands_of(page: str) -> list[str]:
    return [line for line in commands_in((ROOT / page).read_text("utf-8")) if line.startswith("lathe ")]


@pytest.mark.quick(1)
@pytest.mark.parametrize("page", READMES)
@pytest.mark.long
def test_a_readme_runs_from_top_to_bottom(
    page: str, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that holds what the demo leaves and the page's own recipe, and nothing else."""
    for name in DEMO:
        (tmp_path / f"{name}.safetensors").symlink_to(shelf / f"{name}.safetensors")
    (tmp_path / "article.toml").write_text(recipe_of(page), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(LocalRenderer, "render", draw)
    first, *commands = commands_of(page)
    assert first == "lathe demo"
    assert "lathe demo\ncd demo-out\n" in (ROOT / page).read_text("utf-8")
    for command in commands:
        result = CliRunner().invoke(lathe, shlex.split(command)[1:], prog_name="lathe")
        assert result.exit_code == 0, f"{command}\n{result.output}"


def test_both_readmes_print_the_same_recipe() -> None:
    english, chinese = (re.sub(" *#.*", "", recipe_of(page)) for page in READMES)
    assert english == chinese
