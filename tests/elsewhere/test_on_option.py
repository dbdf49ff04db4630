"""`--on`: commands with a server; cells that it made are its own; families that are not drawn here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import loralathe
from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors
from cli.kit import Run, done, quiet_surroundings, run
from cli_pictures.conftest import here
from cli_pictures.conftest import studio as atelier_files
from elsewhere.comfy_stand_in import ComfyStandIn
from elsewhere.test_comfyui import node
from loralathe.errors import InputError
from loralathe.rendering import LocalRenderer
from loralathe.rendering.infotext import png_text
from quantised import quantise
from studies.fakes import draw

__all__ = ["atelier_files", "done", "here", "quiet_surroundings", "run"]
GRID = ("grid", "baseA", "hina", "--prompt", "a girl", "--size", "64x64", "--steps", "2", "--seed", "7")
AXIS = ("--x", "hina = 0, 0.5, 1", "-o", "out", "--scorer", "none")


@pytest.fixture(scope="session")
def studio(atelier_files: Path) -> Path:
    return atelier_files


@pytest.fixture
def comfy(here: Path) -> Iterator[tuple[ComfyStandIn, str]]:
    """A running ComfyUI in the folder `ComfyUI`, and its address."""
    models = here / "ComfyUI" / "models"
    for kind, name in (("checkpoints", "baseA"), ("loras", "hina")):
        (models / kind).mkdir(parents=True)
        (models / kind / f"{name}.safetensors").symlink_to((here / f"{name}.safetensors").resolve())
    stand_in = ComfyStandIn("baseA.safetensors", folder=models / "loras")
    with stand_in.running() as server:
        yield stand_in, f"comfyui://127.0.0.1:{server.port}"


@pytest.mark.long
def test_a_grid_by_comfyui(comfy: tuple[ComfyStandIn, str], here: Path, done: Run) -> None:
    stand_in, address = comfy
    for name in ("baseA", "hina"):
        (here / f"{name}.safetensors").unlink()
    words = (*GRID, *AXIS, "--on", address, "--comfyui", "ComfyUI")
    assert "3 rendered" in done(*words).stdout
    assert [node(graph, "LoraLoader")["strength_model"] for graph in stand_in.graphs] == [0.0, 0.5, 1.0]
    assert "0 rendered, 3 were there already" in done(*words).stdout
    cell = next(Path("out/cells").glob("*.png"))
    assert f"Rendered by: loralathe {loralathe.__version__} with ComfyUI" in (png_text(cell) or "")
    plan = json.loads(
        done(*words[:-2], "--comfyui", "ComfyUI", "--dry-run", "--json").stdout.splitlines()[-1]
    )
    assert plan["estimate"]["device"] == address.replace("comfyui://", "ComfyUI at ")
    assert plan["estimate"]["memory"] is None


def test_cells_of_another_program_are_not_taken_for_ours(
    comfy: tuple[ComfyStandIn, str], run: Run, done: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalRenderer, "render", draw)
    done(*GRID, *AXIS, "--on", comfy[1])
    refused = run(*GRID, *AXIS, "--device", "cpu")
    assert refused.exit_code == 2
    assert "not the same: drawn by" in refused.stderr
    assert "3 rendered" in done(*GRID, *AXIS, "--device", "cpu", "--force").stdout
    assert len(list(Path("out/cells").glob("*.png"))) == 6
    assert "0 rendered" in done(*GRID, *AXIS, "--on", comfy[1], "--force").stdout


def test_blocks_by_comfyui(comfy: tuple[ComfyStandIn, str], done: Run) -> None:
    """Each picture has the block in files of their own: nothing of them stays."""
    stand_in, address = comfy
    words = (
        "blocks",
        "baseA",
        "hina",
        "--prompt",
        "a girl",
        "--size",
        "64x64",
        "--steps",
        "2",
        "--seed",
        "7",
    )
    done(*words, "--blocks", "BASE, MID", "--on", address, "--comfyui", "ComfyUI", "-o", "out")
    assert len(stand_in.graphs) == 3
    assert stand_in.loras() == ["hina.safetensors"]


def test_a_recipe_stays_here(comfy: tuple[ComfyStandIn, str], run: Run) -> None:
    result = run("grid", "--recipe", "article.toml", "--step", "B2", "--prompt", "girl", "--on", comfy[1])
    assert result.exit_code == 2
    assert "ComfyUI draws with files, and a recipe is made in memory" in result.stderr


def test_here_or_elsewhere(comfy: tuple[ComfyStandIn, str], run: Run) -> None:
    result = run(*GRID, "--x", "seed = 1, 2", "--on", comfy[1], "--device", "cpu")
    assert result.exit_code == 2
    assert "pictures are made here or elsewhere, not both" in result.stderr


def test_a_family_that_is_not_drawn_here(tmp_path: Path) -> None:
    """Anima's transformer alone, with a text encoder and a VAE that only the server has."""
    base, lora = tmp_path / "anima.safetensors", tmp_path / "loras" / "hina.safetensors"
    lora.parent.mkdir()
    write_safetensors(base, tiny_checkpoint("anima", seed=1))
    write_safetensors(lora, tiny_lora("anima", rank=2, alpha=1.0, seed=2))
    with pytest.raises(InputError, match="cannot be rendered here"):
        loralathe.open_model(base)
    stand_in = ComfyStandIn(folder=lora.parent)
    stand_in.files.update(
        unets=["anima/anima.safetensors"],
        encoders=["qwen_3_06b.safetensors"],
        vaes=["qwen_image_vae.safetensors"],
    )
    with stand_in.running() as server:
        options = {"on": f"comfyui://127.0.0.1:{server.port}", "text_encoder": "qwen_3_06b.safetensors"}
        with loralathe.open_model(base, **options) as model:  # type: ignore[arg-type]
            model.render(
                f"{lora}:0.5", prompt="a (girl)", size="64x64", seed=3, vae="qwen_image_vae.safetensors",
                output=tmp_path / "out.png",
            )  # fmt: skip
    (graph,) = stand_in.graphs
    assert node(graph, "UNETLoader")["unet_name"] == "anima/anima.safetensors"
    assert node(graph, "CLIPLoader") == {"clip_name": "qwen_3_06b.safetensors", "type": "stable_diffusion"}
    assert node(graph, "KSampler")["steps"] == 30
    assert node(graph, "KSampler")["scheduler"] == "simple"
    assert node(graph, "EmptySD3LatentImage")["width"] == 64
    assert node(graph, "LoraLoader")["strength_model"] == 0.5
    assert (png_text(tmp_path / "out.png") or "").startswith("a (girl) <lora:hina:0.5>")


def test_a_gguf_is_loaded_by_the_node_that_reads_it(tmp_path: Path) -> None:
    """ComfyUI-GGUF's loaders, where that pack is; they list the other encoders, too."""
    base, _ = quantise(tmp_path, "Q8_0", tiny_checkpoint("anima", seed=1))
    stand_in = ComfyStandIn()
    stand_in.files.update(encoders=["qwen_3_06b.safetensors"], vaes=["qwen_image_vae.safetensors"])
    options = {"vae": "qwen_image_vae.safetensors", "prompt": "girl", "size": "64x64"}
    with stand_in.running() as server:
        address = f"comfyui://127.0.0.1:{server.port}"
        for encoder, kind in {
            "qwen_3_06b.safetensors": "CLIPLoader",
            "encoder.gguf": "CLIPLoaderGGUF",
        }.items():
            with loralathe.open_model(base, on=address, text_encoder=encoder) as model:
                if not stand_in.ggufs:
                    with pytest.raises(InputError, match=r"has no checkpoint 'quantised\.gguf'"):
                        model.render(output=tmp_path / "out.png", **options)  # type: ignore[arg-type]
                stand_in.ggufs = ["sub/quantised.gguf", "encoder.gguf"]
                model.render(output=tmp_path / f"{kind}.png", **options)  # type: ignore[arg-type]
            graph = stand_in.graphs[-1]
            assert node(graph, "UnetLoaderGGUF") == {"unet_name": "sub/quantised.gguf"}
            assert node(graph, kind)["clip_name"] == encoder


def test_a_state_dict_stays_here(comfy: tuple[ComfyStandIn, str]) -> None:
    with pytest.raises(InputError, match="other programs draw with files that they have"):
        loralathe.open_model(tiny_checkpoint("sd1", seed=1), on=comfy[1])
