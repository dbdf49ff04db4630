"""Narrow transformers that really render: true layouts, two blocks, with encoders, VAE and tokenizer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from checkpoints import manifest, raw_manifest

Tensors = dict[str, torch.Tensor]
WORDS = ("a", "portrait", "of", "Hina", "blue", "hair", "blurry", "bad", "hands", "girl", "smiling", "red")


@dataclass(frozen=True)
class Part:
    """The tensors of a manifest behind a prefix, narrowed.

    divisor: of widths above `least`;  widths: those that become another;  blocks: how many of a row are kept
    """

    manifest: str
    prefix: str = ""
    divisor: int = 1
    least: int = 256
    widths: Mapping[int, int] = field(default_factory=dict)
    blocks: int = 2
    put: str | None = None
    """What stands in place of the prefix."""

    def tensors(self, seed: int, std: float = 0.08) -> Tensors:
        found = {}
        for number, (key, spec) in enumerate(manifest(self.manifest).items()):
            numbers = [int(one) for one in re.findall(r"(?:blocks?|layers|refiner)\.(\d+)\.", key)]
            if not key.startswith(self.prefix) or any(one >= self.blocks for one in numbers[:1]):
                continue
            wide = 3 if len(spec.shape) == 3 else 2  # of a table of places, too
            shape = tuple(self._narrow(size) if axis < wide else size for axis, size in enumerate(spec.shape))
            generator = torch.Generator().manual_seed(seed * 10_000 + number)
            tensor = torch.randn(shape, generator=generator) * std
            if len(shape) == 1 and not key.endswith("bias"):
                tensor += 1.0
            found[(self.prefix if self.put is None else self.put) + key[len(self.prefix) :]] = tensor
        return found

    def _narrow(self, size: int) -> int:
        if size in self.widths:
            return self.widths[size]
        return size // self.divisor if size > self.least else size


ALL_IN_ONE = "ckpt_flux_dev_all_in_one"
FLUX = (
    Part(ALL_IN_ONE, "model.diffusion_model.", 48, widths={4096: 64, 768: 64, 128: 32}),
    Part(ALL_IN_ONE, "text_encoders.clip_l.", 12, widths={49408: 49408}),
    Part(ALL_IN_ONE, "text_encoders.t5xxl.", 64, widths={64: 4}),
)
VAE = Part(ALL_IN_ONE, "vae.", 8, least=64, blocks=4)

ZIMAGE = (
    Part(
        "ckpt_zimage_all_in_one",
        "model.diffusion_model.",
        15,
        least=1024,
        widths={128: 32, 2560: 64, 10240: 682},
    ),
    Part(
        "ckpt_zimage_all_in_one",
        "text_encoders.",
        40,
        least=1024,
        widths={128: 16, 4096: 64, 1024: 32, 9728: 96},
    ),
)

KLEIN = (
    Part("ckpt_klein4b", "", 24, 256, {7680: 192}, put="model.diffusion_model."),
    Part("ckpt_zimage_all_in_one", "text_encoders.", 40, 1024, ZIMAGE[1].widths, blocks=28),
)
KLEIN_VAE = Part(ALL_IN_ONE, "vae.", 8, 64, {16: 32, 32: 64}, blocks=4)


SD3_WIDTHS = {4096: 128, 2048: 128, 147456: 256, 36864: 256}
SD3 = (
    Part("ckpt_sd35_medium_all_in_one", "model.diffusion_model.", 12, widths=SD3_WIDTHS, blocks=99),
    Part("ckpt_sd35_medium_all_in_one", "text_encoders.clip_l.", 12, widths={49408: 49408}, blocks=99),
    Part("ckpt_sd35_medium_all_in_one", "text_encoders.clip_g.", 20, widths={49408: 49408}, blocks=99),
    Part("ckpt_sd35_medium_all_in_one", "text_encoders.t5xxl.", 32, widths={64: 4}),
    Part("ckpt_sd35_medium_all_in_one", "first_stage_model.", 8, least=64, blocks=4),
)
"""At full depth: the last block has other layers."""


def assembled(parts: tuple[Part, ...], seed: int = 1) -> Tensors:
    return {key: tensor for part in parts for key, tensor in part.tensors(seed).items()}


UNET = "model.diffusion_model."


def narrow_lora(
    tensors: Mapping[str, torch.Tensor],
    pattern: str,
    *,
    rank: int = 3,
    seed: int = 5,
    start: str = "lora_unet_",
    prefix: str = UNET,
) -> Tensors:
    """A kohya LoRA on every matrix whose key matches, named as in the original layout behind a prefix."""
    found = {}
    for number, (key, tensor) in enumerate(tensors.items()):
        if tensor.dim() != 2 or not key.endswith(".weight") or not re.search(pattern, key):
            continue
        generator = torch.Generator().manual_seed(seed * 10_000 + number)
        name = start + key.removesuffix(".weight").removeprefix(prefix).replace(".", "_")
        found[f"{name}.lora_down.weight"] = torch.randn(rank, tensor.shape[1], generator=generator) * 0.2
        found[f"{name}.lora_up.weight"] = torch.randn(tensor.shape[0], rank, generator=generator) * 0.2
        found[f"{name}.alpha"] = torch.tensor(1.5)
    return found


def merged(
    tensors: Tensors, lora: Tensors, strength: float, start: str = "lora_unet_", prefix: str = UNET
) -> Tensors:
    """The LoRA of `narrow_lora` in the checkpoint, by float64."""
    found = dict(tensors)
    for key, tensor in tensors.items():
        name = start + key.removesuffix(".weight").removeprefix(prefix).replace(".", "_")
        if f"{name}.lora_up.weight" in lora:
            up, down = (lora[f"{name}.lora_{one}.weight"].double() for one in ("up", "down"))
            found[key] = (tensor.double() + strength * (1.5 / len(down)) * up @ down).float()
    return found


def write_tokenizer(folder: Path, special: tuple[str, ...]) -> Path:
    """A tokenizer.json of whole words."""
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS, ","])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def by_map(tensors: Mapping[str, torch.Tensor], name: str, prefix: str, divisor: int) -> Tensors:
    """The diffusers layout of a narrowed transformer, by a map that diffusers' own converter made."""
    found = {}
    for key, entry in raw_manifest(name).items():
        what: Any = {"original": entry} if isinstance(entry, str) else entry
        tensor = tensors.get(prefix + what["original"])
        if tensor is None:
            continue
        if "rows" in what:
            first, last = (row // divisor for row in what["rows"])
            tensor = tensor[first:last]
        if what.get("halves_swapped"):
            tensor = torch.cat([tensor[len(tensor) // 2 :], tensor[: len(tensor) // 2]])
        found[key] = tensor
    return found
