"""The sound files that cases start from: SD 1.5 of half a megabyte, its neighbour, and LoRAs for it."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path

import torch

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors

WIDTH = 64
CHECKPOINTS = ("A.safetensors", "B.safetensors")
MADE = "made.safetensors"
"""Carries the record of how it was made from A and lora."""
ADAPTERS = ("lora.safetensors", "conv.safetensors", "kinds.safetensors", "peft.safetensors")
PICTURE = "picture.png"
INFOTEXT = (
    "a girl, (smile:1.2) <lora:hina:0.7>\nNegative prompt: bad\n"
    'Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768, Model: "a, b"'
)


def write_fixtures(folder: Path) -> None:
    """All of them; a folder that has them already is left alone."""
    if (folder / PICTURE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    first = tiny_checkpoint("sd1", seed=1, width_divisor=WIDTH)
    write_safetensors(folder / "A.safetensors", first, {"modelspec.title": "first"})
    write_safetensors(folder / "B.safetensors", second_checkpoint(first, 1e-2, 2))
    lora = tiny_lora("sd1", rank=2, alpha=1.0, seed=3, width_divisor=WIDTH)
    write_safetensors(folder / "lora.safetensors", lora, {"ss_network_dim": "2", "ss_output_name": "hina"})
    conv = tiny_lora("sd1", rank=2, alpha=2.0, conv_rank=1, seed=4, width_divisor=WIDTH)
    write_safetensors(folder / "conv.safetensors", conv)
    write_safetensors(folder / "kinds.safetensors", _every_kind())
    notes = {"unet.lora_alpha": 3, "unet.alpha_pattern": {"to_q": 2}}
    write_safetensors(folder / "peft.safetensors", _peft(), {"lora_adapter_metadata": json.dumps(notes)})
    _make(folder)
    _write_picture(folder / PICTURE)


def _every_kind() -> dict[str, torch.Tensor]:
    """LoHa, LoKr, their Tucker forms and whole differences, for layers of (5, 5) and (5, 5, 3, 3)."""
    block = "lora_unet_down_blocks_0_"
    parts = {
        "attentions_0_transformer_blocks_0_attn1_to_q": {
            "hada_w1_a": (5, 2), "hada_w1_b": (2, 5), "hada_w2_a": (5, 2), "hada_w2_b": (2, 5), "alpha": (),
        },
        "attentions_0_transformer_blocks_0_attn1_to_k": {
            "lokr_w1": (1, 1), "lokr_w2_a": (5, 2), "lokr_w2_b": (2, 5), "alpha": (),
        },
        "attentions_0_transformer_blocks_0_attn1_to_v": {"diff": (5, 5)},
        "resnets_0_conv1": {
            "hada_t1": (2, 2, 3, 3), "hada_w1_a": (2, 5), "hada_w1_b": (2, 5),
            "hada_t2": (2, 2, 3, 3), "hada_w2_a": (2, 5), "hada_w2_b": (2, 5), "alpha": (),
        },
        "resnets_0_conv2": {"lokr_w1": (5, 1), "lokr_w2": (1, 5, 3, 3)},
    }  # fmt: skip
    generator = torch.Generator().manual_seed(5)
    return {
        f"{block}{module}.{part}": torch.randn(shape, generator=generator)
        for module, shapes in parts.items()
        for part, shape in shapes.items()
    }


def _peft() -> dict[str, torch.Tensor]:
    module = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    shapes = {"lora_A.weight": (2, 5), "lora_B.weight": (5, 2)}
    return {
        f"{module}.{layer}.{part}": torch.ones(shape)
        for layer in ("to_q", "to_k")
        for part, shape in shapes.items()
    }


def _make(folder: Path) -> None:
    from loralathe.engine import RunOptions, run_recipe
    from loralathe.language import Save, make_recipe

    inputs = {name: folder / f"{name}.safetensors" for name in ("A", "lora")}
    steps = {"made": "A + M*lora@Face"}
    recipe = make_recipe(
        inputs=inputs,
        steps=steps,
        variables={"M": 0.7},
        blocks={"Face": "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,0,0.5,1,1,1"},
        saves=[Save("made", folder / MADE)],
    )
    run_recipe(recipe, RunOptions(threads=1))


def _write_picture(path: Path) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    chunks.add_text("parameters", INFOTEXT)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="PNG", pnginfo=chunks)
    path.write_bytes(buffer.getvalue())


@cache
def read(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()
