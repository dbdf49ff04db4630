"""LoRAs of text encoders on the newer families: at run time each is the merged checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints import write_safetensors
from loralathe.errors import InputError
from loralathe.strengths import AdapterUse
from rendering.narrow import FLUX, SD3, VAE, ZIMAGE, Part, assembled, merged, narrow_lora, write_tokenizer
from rendering.pictured import pictures, renderer_with, request_for

STRENGTH = 0.8
INSIDE = r"(self_attn\.[qkv]_proj|fc1|SelfAttention\.[qkvo]|wi_0|wo|up_proj)\.weight$"
T5 = ("<pad>", "</s>", "<unk>")
QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "user", "assistant", "think", "<unk>")


@dataclass(frozen=True)
class Narrow:
    """parts: of the file;  special: of its tokenizer;  encoders: start of kohya's names → of the keys"""

    parts: tuple[Part, ...]
    special: tuple[str, ...]
    encoders: Mapping[str, str]


CLIP_L, CLIP_G, XXL = (f"text_encoders.{name}.transformer." for name in ("clip_l", "clip_g", "t5xxl"))
MODELS = {
    "flux": Narrow((*FLUX, VAE), T5, {"lora_te1_": CLIP_L, "lora_te3_": XXL}),
    "sd3": Narrow(SD3, T5, {"lora_te1_": CLIP_L, "lora_te2_": CLIP_G, "lora_te3_": XXL}),
    "zimage": Narrow((*ZIMAGE, VAE), QWEN, {"lora_te1_": "text_encoders.qwen3_4b.transformer.model."}),
}
CASES = [
    pytest.param(name, start, marks=[pytest.mark.slow] if name == "sd3" else [])
    for name, model in MODELS.items()
    for start in model.encoders
]


@pytest.mark.parametrize(("name", "start"), CASES)
@pytest.mark.long
def test_at_run_time_it_is_the_merged_checkpoint(name: str, start: str, tmp_path: Path) -> None:
    """By its strength for text encoders, each picture of a batch by its own; that of the U-Net is idle."""
    narrow = MODELS[name]
    prefix = narrow.encoders[start]
    tensors = assembled(narrow.parts)
    lora = narrow_lora(tensors, "^" + re.escape(prefix) + ".*" + INSIDE, start=start, prefix=prefix)
    assert len(lora) > 6
    write_safetensors(tmp_path / "model.safetensors", tensors)
    write_safetensors(tmp_path / "merged.safetensors", merged(tensors, lora, STRENGTH, start, prefix))
    file = str(write_safetensors(tmp_path / "hina.safetensors", lora))
    write_tokenizer(tmp_path, narrow.special)

    def uses(te: float) -> tuple[AdapterUse, ...]:
        return (AdapterUse(file, te=te, unet=1.0),)

    with renderer_with(tmp_path) as renderer:
        found: dict[int, np.ndarray[Any, Any]] = {}
        requests = [
            request_for(tmp_path / "model.safetensors", steps=1, adapters=uses(te)) for te in (0.0, STRENGTH)
        ]
        renderer.render(requests, lambda index, image: found.update({index: np.asarray(image) / 255.0}))
        (plain,) = pictures(renderer, tmp_path / "model.safetensors", 0, steps=1)
        (wanted,) = pictures(renderer, tmp_path / "merged.safetensors", 0, steps=1)
    assert np.abs(found[0] - plain).max() < 1.1 / 255
    assert np.abs(found[1] - wanted).max() < 1.1 / 255
    assert np.abs(wanted - plain).max() > 10 / 255


def test_one_for_an_encoder_that_is_left_out_is_refused(tmp_path: Path) -> None:
    tensors = assembled(SD3)
    lora = narrow_lora(tensors, "^" + re.escape(XXL) + ".*" + INSIDE, start="lora_te3_", prefix=XXL)
    clips = {key: one for key, one in tensors.items() if not key.startswith("text_encoders.t5xxl.")}
    write_safetensors(tmp_path / "model.safetensors", clips)
    uses = (AdapterUse(str(write_safetensors(tmp_path / "hina.safetensors", lora)), te=1.0, unet=1.0),)
    with renderer_with(tmp_path) as renderer:
        with pytest.raises(InputError, match="change the T5 text encoder, which no file holds") as caught:
            pictures(renderer, tmp_path / "model.safetensors", 0, steps=1, adapters=uses)
        assert "t5xxl_fp16.safetensors" in caught.value.fix
