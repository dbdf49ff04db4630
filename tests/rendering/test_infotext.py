"""Infotext as A1111 writes it, and back; PNGs that carry it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from loralathe.rendering import ImageRequest
from loralathe.rendering.infotext import Hashes, infotext, png_text, read_infotext, save_png
from loralathe.rendering.prompts import lift_tags
from loralathe.strengths import AdapterUse

REQUEST = ImageRequest(
    "models/base.safetensors", "vae/good.safetensors", "a (cat:1.2),\nsecond line", "bad, worse", seed=42,
    steps=20, cfg=7.0, sampler="DPM++ 2M", width=512, height=768, clip_skip=2,
    adapters=(AdapterUse("loras/hina.safetensors", 0.7, 0.7, blocks="MIDD", stop=5),),
)  # fmt: skip


def test_the_text() -> None:
    text = infotext(REQUEST, Hashes("a" * 64, "b" * 64, {"hina": "c" * 64, "o:th,er": "d" * 64}))
    *lines, last = text.split("\n")
    assert lines == [
        "a (cat:1.2),",
        "second line <lora:hina:0.7:lbw=MIDD:stop=5>",
        "Negative prompt: bad, worse",
    ]
    assert last.startswith(
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x768, "
        "Model hash: aaaaaaaaaa, Model: base, VAE hash: bbbbbbbbbb, VAE: good.safetensors, Clip skip: 2, "
        'RNG: CPU, Lora hashes: "hina: cccccccccccc, other: dddddddddddd", Rendered by: loralathe '
    )


def test_nothing_is_written_that_is_not_there() -> None:
    text = infotext(ImageRequest("m", prompt="x"))
    assert "Negative" not in text
    assert "hash" not in text
    assert "VAE" not in text
    assert "Clip skip" not in text


def test_it_is_read_back() -> None:
    reading = read_infotext(infotext(REQUEST))
    assert lift_tags(reading.prompt).adapters == (replace(REQUEST.adapters[0], file="hina"),)
    assert reading.negative == REQUEST.negative
    assert {key: reading.entries[key] for key in ("Seed", "Size", "CFG scale", "Clip skip")} == {
        "Seed": "42",
        "Size": "512x768",
        "CFG scale": "7",
        "Clip skip": "2",
    }


def test_text_of_a1111() -> None:
    text = (
        "masterpiece, (cat:1.3)\n<lora:x:0.5>\nNegative prompt: ugly,\nbad\nSteps: 30, Sampler: Euler a, "
        "Schedule type: Automatic, CFG scale: 5.5, Seed: 1, Size: 512x512, "
        'Lora hashes: "x: 0123456789ab, y: 1", '
        "Version: v1.10.1"
    )
    reading = read_infotext(text)
    assert (reading.prompt, reading.negative) == ("masterpiece, (cat:1.3)\n<lora:x:0.5>", "ugly,\nbad")
    assert reading.entries["Lora hashes"] == "x: 0123456789ab, y: 1"
    assert (reading.entries["CFG scale"], reading.entries["Sampler"]) == ("5.5", "Euler a")


def test_text_without_settings_is_all_prompt() -> None:
    assert read_infotext("a: b, just words") == read_infotext(" a: b, just words")
    assert read_infotext("a: b, just words").entries == {}


@given(
    st.text(alphabet="ab(),:.1 é猫", max_size=40).map(str.strip),
    st.text(alphabet="ab(),:.1 é猫", max_size=40).map(str.strip),
)
def test_prompts_survive(prompt: str, negative: str) -> None:
    reading = read_infotext(infotext(ImageRequest("m", prompt=prompt, negative=negative)))
    assert (reading.prompt, reading.negative) == (prompt, negative)


@pytest.mark.parametrize("prompt", ["plain", "猫 and é"])
def test_a_png_carries_it(tmp_path: Path, prompt: str) -> None:
    image = Image.new("RGB", (8, 8))
    image.info["parameters"] = infotext(ImageRequest("m", prompt=prompt))
    save_png(image, tmp_path / "x.png")
    assert png_text(tmp_path / "x.png") == image.info["parameters"]
