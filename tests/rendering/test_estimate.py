"""What pictures will take, before anything is loaded: memory by headers, time by steps that were measured."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import pytest
import torch

from checkpoints import header, write_safetensors
from loralathe.families.detect import detect_checkpoint
from loralathe.rendering import ImageRequest
from loralathe.rendering.estimate import (
    Memory,
    Numbers,
    denoiser_numbers,
    memory_of,
    numbers_of_files,
    time_of,
)
from loralathe.rendering.rates import known_rate, model_key, remember_rate

DOCS = Path(__file__).resolve().parents[2] / "docs"
MODELS = {"SD 1.5": "ckpt_sd15", "SD 2.1": "ckpt_sd21_768v", "SDXL": "ckpt_sdxl_base"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def memory(label: str, side: int, dtype: str = "fp16", *, low_vram: bool = False) -> Memory:
    found = header(MODELS[label])
    family = detect_checkpoint(found).family
    return memory_of(family, found.tensors, (side, side), dtype, low_vram=low_vram)


def test_memory_is_that_of_the_networks_and_of_the_larger_of_both_works() -> None:
    """SD 1.5 at 512²: 1066 million numbers, the U-Net's 0.4 GB, the VAE's four tensors of 256 channels."""
    tensors = header("ckpt_sd15").tensors
    known = [k for k in tensors if k.startswith(("model.diffusion_model.", "first_stage_", "cond_stage_"))]
    networks = 2 * sum(prod(tensors[key].shape) for key in known)
    assert memory("SD 1.5", 512).one == pytest.approx(networks + 4 * 256 * 512 * 512 * 2, rel=1e-3)
    assert memory("SD 1.5", 512).more == 64 * 64 * 96 * 1024
    assert memory("SD 1.5", 512, "fp32").one == 2 * memory("SD 1.5", 512).one


def test_low_vram_holds_one_network_beside_the_vae_and_decodes_in_tiles() -> None:
    found = header("ckpt_sdxl_base")
    family = detect_checkpoint(found).family
    vae = 2 * sum(prod(t.shape) for k, t in found.tensors.items() if family.component_of_key(k) == "vae")
    unet = 2 * denoiser_numbers(family, found.tensors)
    assert memory("SDXL", 1024, low_vram=True).one == vae + unet + 128 * 128 * 96 * 1024
    assert memory("SDXL", 1024, low_vram=True).one < memory("SDXL", 1024).one


def test_flux_takes_its_three_networks_and_a_block_of_tokens(tmp_path: Path) -> None:
    """16.8 billion numbers in bf16; at 1024² 4096 patches and 512 tokens of text, 3072 wide."""
    found = header("ckpt_flux_dev_all_in_one")
    family = detect_checkpoint(found).family
    whole = memory_of(family, found.tensors, (1024, 1024), "bf16", low_vram=False)
    numbers = sum(prod(tensor.shape) for tensor in found.tensors.values())
    assert whole.more == (4096 + 512) * 3072 * 18 * 2
    assert whole.one == pytest.approx(2 * numbers + 4 * 256 * 1024 * 1024 * 2, rel=1e-3)
    alone = header("ckpt_flux_dev")
    elsewhere = {
        name: Numbers.of((key, t) for key, t in found.tensors.items() if family.component_of_key(key) == name)
        for name in ("te1", "te3")
    }
    beside = memory_of(family, alone.tensors, (1024, 1024), "bf16", low_vram=False, elsewhere=elsewhere)
    vae = sum(prod(t.shape) for key, t in found.tensors.items() if family.component_of_key(key) == "vae")
    assert beside.one + 2 * vae == pytest.approx(whole.one, rel=1e-3)


def test_low_vram_holds_one_block_of_a_transformer(tmp_path: Path) -> None:
    """Of Flux the largest is a double block; beside it stands what is outside of blocks."""
    alone = header("ckpt_flux_dev").tensors
    family = detect_checkpoint(header("ckpt_flux_dev")).family
    block = sum(prod(t.shape) for key, t in alone.items() if key.startswith("double_blocks.7."))
    rest = sum(prod(t.shape) for key, t in alone.items() if "_blocks." not in key)
    found = memory_of(family, alone, (1024, 1024), "bf16", low_vram=True)
    decoding = 4 * 256 * 512 * 512 * 2
    assert found.one == 2 * (block + rest) + found.more > decoding
    assert found.one < 2e9
    block_of = {"encoder.block.0.a": torch.zeros(2, 3), "encoder.block.1.a": torch.zeros(2, 4)}
    write_safetensors(tmp_path / "t5.safetensors", {"shared": torch.zeros(5), **block_of})
    files = {"te1": tmp_path / "t5.safetensors", "te3": tmp_path}
    assert numbers_of_files(files) == {"te1": Numbers(19, 13), "te3": Numbers(19, 13)}


@pytest.mark.parametrize("page", ["pictures.md", "pictures.zh-TW.md"])
def test_the_table_of_the_page_is_computed_so(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (SD[^|]*) \| (\d+)x\d+ \| (.*) \|$", text, re.MULTILINE)
    assert {row[0] for row in rows} == MODELS.keys()
    for label, side, cells in rows:
        both = [
            memory(label, int(side), dtype, low_vram=low).one
            for dtype in ("fp16", "fp32")
            for low in (False, True)
        ]
        shown = [f"{count / 1e9:.1f} GB" for count in (*both, memory(label, int(side)).more)]
        assert cells.split(" | ") == shown


def test_time_is_told_by_steps_that_were_measured_and_only_then(cache: Path) -> None:
    key = model_key("sdxl", 1_000_000, "cpu", "fp32")
    requests = [ImageRequest("a", steps=10, width=64, height=side) for side in (64, 128)]
    assert time_of(requests, key, 1_000_000, "cpu").seconds is None
    remember_rate(key, (64, 64), 0.5)
    found = time_of(requests, key, 1_000_000, "cpu")
    assert (found.seconds, found.measured_at) == (10 * 0.5 + 10 * 1.0, "64×64")
    remember_rate(key, (64, 128), 3.0)
    assert time_of(requests, key, 1_000_000, "cpu").seconds == 10 * 0.5 + 10 * 3.0
    assert known_rate(model_key("sdxl", 2_000_000, "cpu", "fp32"), (64, 64)) is None


@pytest.mark.parametrize(
    ("numbers", "side", "device", "seconds"),
    [
        (10_740_000, 128, "cpu", (0.05, 0.3)),
        (860_000_000, 512, "cpu", (2, 10)),
        (2_570_000_000, 1024, "cpu", (20, 120)),
        (2_570_000_000, 1024, "cuda:0", (0.1, 1.5)),
    ],
)
def test_without_a_measured_step_the_size_of_the_model_tells(
    numbers: int, side: int, device: str, seconds: tuple[float, float]
) -> None:
    """A step of the tiny family, of SD 1.5 and of SDXL, and of SDXL on a GPU."""
    found = time_of([ImageRequest("a", steps=1, width=side, height=side)], "none", numbers, device)
    assert (found.seconds, found.measured_at) == (None, None)
    assert found.guess is not None
    assert seconds[0] < found.guess < seconds[1]


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"k": 3}', '{"k": {"64": 1}}', '{"k": {"64×64": "x"}}'])
def test_damaged_rates_are_forgotten(cache: Path, damage: str) -> None:
    cache.mkdir()
    (cache / "rates.json").write_text(damage)
    assert known_rate("k", (64, 64)) is None
    remember_rate("k", (64, 64), 2.0)
    assert known_rate("k", (64, 64)) is not None
