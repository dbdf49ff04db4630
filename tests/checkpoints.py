"""Tiny checkpoints and LoRAs in the true layouts: every key of the real files, widths divided.

Names and shapes come from the manifests in `tests/data/manifests`, not from the package, so they
can judge it. Benchmarks read the same manifests at full size (`width_divisor=1`).
"""

from __future__ import annotations

import gzip
import json
import math
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MANIFESTS = Path(__file__).parent / "data" / "manifests"
VOCABULARY, TINY_VOCABULARY = 49408, 64
POSITIONS = 77
BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64}
FAMILIES = {  # family → (checkpoint manifest, default width divisor)
    "sd1": ("ckpt_sd15", 16),
    "sd1-inpainting": ("ckpt_sd15_inpainting", 16),
    "sd2": ("ckpt_sd21_768v", 16),
    "sdxl": ("ckpt_sdxl_base", 32),
    "sdxl-refiner": ("ckpt_sdxl_refiner", 32),
    "flux": ("ckpt_flux_dev_all_in_one", 32),
    "flux-alone": ("ckpt_flux_dev", 32),
    "sd35m": ("ckpt_sd35_medium_all_in_one", 32),
    "klein4b": ("ckpt_klein4b", 64),
    "chroma": ("ckpt_chroma", 64),
    "zimage": ("ckpt_zimage", 64),
    "qwen-image": ("ckpt_qwen_image", 64),
    "qwen-image-2.1": ("ckpt_qwen_image_21", 64),
    "krea2": ("ckpt_krea2", 64),
    "anima": ("ckpt_anima", 64),
}
MANIFEST_OF = {  # every family that is known → its list of tensors; deeper Animas have the same blocks again
    "sd1": "ckpt_sd15",
    "sd2": "ckpt_sd21_768v",
    "sdxl": "ckpt_sdxl_base",
    "sdxl-refiner": "ckpt_sdxl_refiner",
    "sd3": "ckpt_sd3_medium",
    "flux": "ckpt_flux_dev_all_in_one",
    "sd35l": "ckpt_sd35_large",
    "sd35m": "ckpt_sd35_medium_all_in_one",
    "chroma": "ckpt_chroma",
    "qwen-image": "ckpt_qwen_image_all_in_one",
    "flux2": "ckpt_flux2_dev",
    "zimage": "ckpt_zimage_all_in_one",
    "anima": "ckpt_anima_all_in_one",
    "klein9b": "ckpt_klein9b",
    "klein4b": "ckpt_klein4b",
    "anima-40": "ckpt_anima",
    "krea2": "ckpt_krea2_all_in_one",
    "anima-52": "ckpt_anima",
    "qwen-image-2.1": "ckpt_qwen_image_21",
}
LORAS = {  # family → (manifest of attention layers only, manifest with convolutions)
    "sd1": ("lora_kohya_sd15_linear", "lora_kohya_sd15_conv"),
    "sd2": ("lora_kohya_sd21_linear", None),
    "sdxl": ("lora_kohya_sdxl_linear", "lora_kohya_sdxl_conv"),
    "sdxl-diffusers-names": (None, "lora_kohya_sdxl_conv_diffusers_names"),
    "flux": ("lora_kohya_flux_clip_t5", None),
    "flux-alone": ("lora_kohya_flux_unet_only", None),
    "sd35m": ("lora_kohya_sd35_medium_clips", None),
}
TRAINED: dict[str, str] = {  # family → layers that its trainer changes by default, every matrix among them
    "sdxl-refiner": r"(input|middle|output)_block.*(attn|ff|proj).*",
    "klein4b": r"(double|single)_blocks\.\d+\..+",
    "chroma": r"(double|single)_blocks\.\d+\..+",
    "zimage": r"(layers|noise_refiner|context_refiner)\.\d+\.(attention|feed_forward)\..+",
    "qwen-image": r"transformer_blocks\.\d+\.(attn|img_mlp|txt_mlp)\..+",
    "qwen-image-2.1": r"transformer_blocks\.\d+\.(attn|img_mlp)\..+",
    "krea2": r".+",
    "anima": r"blocks\.\d+\.(self_attn|cross_attn|mlp)\..+",
}
"""LoRAs of these are made from the checkpoint's manifest: names are flattened keys."""
DEPTHS = {
    "double_blocks": 2,
    "single_blocks": 3,
    "joint_blocks": 2,
    "t5xxl.transformer.encoder.block": 2,
    "te3_encoder_block": 2,
}
"""Blocks that narrowed Flux files keep: the others are the same again, and a quarter of a gigabyte."""
ROWS = {
    "transformer_blocks": 2,
    "blocks": 2,
    "layers": 2,
    "noise_refiner": 1,
    "context_refiner": 1,
    "txtfusion_layerwise_blocks": 1,
    "txtfusion_refiner_blocks": 1,
    "llm_adapter_blocks": 1,
}
"""The same for rows of blocks whose names other networks have too: they stand first in a key (here flat)."""
_NUMBERED = re.compile(rf"({'|'.join(map(re.escape, DEPTHS))})[._](\d+)[._]")
_ROW = re.compile(rf"(?:lora_unet_)?({'|'.join(ROWS)})_(\d+)_")
ODD_WIDTHS = (POSITIONS, 68)
"""Widths that stay: positions, and the 17 channels in patches of 2×2 that Anima takes in."""


@dataclass(frozen=True)
class Spec:
    """Shape and safetensors dtype of one tensor."""

    shape: tuple[int, ...]
    dtype: str = "F16"


@dataclass(frozen=True)
class FakeHeader:
    """A header without a file: what recognition needs."""

    tensors: Mapping[str, Spec]
    metadata: Mapping[str, str]


@cache
def raw_manifest(name: str) -> Mapping[str, object]:
    """The JSON of a manifest, by its name without `.json.gz`; do not change it."""
    with gzip.open(MANIFESTS / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        loaded: dict[str, object] = json.load(file)
    return loaded


@cache
def manifest(name: str) -> Mapping[str, Spec]:
    """Key → Spec of a manifest of tensors, or of the LoRA that a trainer makes for a family (`TRAINED`)."""
    if name in TRAINED:
        return _trained(name)
    return {
        key: Spec(tuple(entry["shape"]), entry["dtype"])  # type: ignore[index]
        for key, entry in raw_manifest(name).items()
    }


def _trained(family: str) -> dict[str, Spec]:
    found = {}
    for key, spec in manifest(FAMILIES[family][0]).items():
        stem = key.removesuffix(".weight").removeprefix("model.diffusion_model.")
        if len(spec.shape) == 2 and key.endswith(".weight") and re.fullmatch(TRAINED[family], stem):
            name = f"lora_unet_{stem.replace('.', '_')}"
            found[f"{name}.alpha"] = Spec(())
            found[f"{name}.lora_up.weight"] = Spec((spec.shape[0], 8))
            found[f"{name}.lora_down.weight"] = Spec((8, spec.shape[1]))
    return found


def header(name: str, metadata: Mapping[str, str] | None = None) -> FakeHeader:
    """The full-size header of a manifest."""
    return FakeHeader(manifest(name), dict(metadata or {}))


def header_of(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> FakeHeader:
    """The header that these tensors would have in a file."""
    return FakeHeader({key: Spec(tuple(t.shape)) for key, t in tensors.items()}, dict(metadata or {}))


def shrink(shape: tuple[int, ...], divisor: int) -> tuple[int, ...]:
    """Divide the widths of a shape; kernels, image and latent channels (up to 64) and positions stay.

    Every width of these families is a multiple of 64, so equal widths stay equal and thirds stay thirds.
    """
    if len(shape) == 3:  # a table of positions, of the model's width
        return (shape[0], min(shape[1], POSITIONS), _shrink_axis(shape[2], divisor))
    return tuple(_shrink_axis(size, divisor) if axis < 2 else size for axis, size in enumerate(shape))


def _shrink_axis(size: int, divisor: int) -> int:
    if divisor == 1 or size <= 64 or size in ODD_WIDTHS:
        return size
    if size == VOCABULARY:
        return TINY_VOCABULARY
    assert size % divisor == 0, f"{size} is no multiple of {divisor}"
    return size // divisor


def tiny_specs(family: str, width_divisor: int | None = None) -> dict[str, Spec]:
    """The tensors of a narrowed checkpoint, as shapes."""
    name, default = FAMILIES[family]
    divisor = default if width_divisor is None else width_divisor
    return {
        key: Spec(_narrowed(key, spec.shape, divisor), spec.dtype)
        for key, spec in manifest(name).items()
        if divisor == 1 or is_shallow(key)
    }


def _narrowed(key: str, shape: tuple[int, ...], divisor: int) -> tuple[int, ...]:
    """The channels that a transformer takes in stay, too: they say which model it is."""
    narrow = shrink(shape, divisor)
    return (narrow[0], shape[1]) if key.endswith("img_in.weight") else narrow


def is_shallow(key: str) -> bool:
    """Whether a key is in the first blocks of a transformer, or not in a numbered one at all."""
    row, found = _ROW.match(key.replace(".", "_")), _NUMBERED.search(key)
    if row is not None:
        return int(row[2]) < ROWS[row[1]]
    return found is None or int(found[2]) < DEPTHS[found[1]]


def tiny_checkpoint(
    family: str,
    *,
    seed: int,
    width_divisor: int | None = None,
    dtype: str = "F16",
    std: float = 0.03,
) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint with narrow layers: SD 1 8 MB, SDXL 7 MB, Flux 4 MB in F16.

    Normal values of standard deviation `std`, norm weights around 1; `position_ids` are 0…76 in int64.
    The same seed gives the same tensors, each independent of the others.
    """
    import torch

    tensors = {}
    for key, spec in tiny_specs(family, width_divisor).items():
        if key.endswith("position_ids"):
            tensors[key] = torch.arange(POSITIONS).reshape(spec.shape)
            continue
        values = _noise(key, spec.shape, seed) * std
        if len(spec.shape) == 1 and key.endswith(".weight"):
            values += 1.0
        tensors[key] = values.to(_torch_dtype(dtype))
    return tensors


def second_checkpoint(
    first: Mapping[str, torch.Tensor], delta_std: float, seed: int
) -> dict[str, torch.Tensor]:
    """Another model of the same layout: `first` plus noise on every float tensor, in the same dtypes."""
    return {
        key: (tensor.float() + delta_std * _noise(key, tuple(tensor.shape), seed)).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor.clone()
        for key, tensor in first.items()
    }


def tiny_lora(
    family: str,
    *,
    rank: int,
    alpha: float | None,
    conv_rank: int | None = None,
    seed: int,
    dtype: str = "F16",
    width_divisor: int | None = None,
    std: float = 0.1,
) -> dict[str, torch.Tensor]:
    """A kohya LoRA whose shapes fit `tiny_checkpoint(family)` of the same `width_divisor`.

    `conv_rank` adds resnets and samplers: kernels above 1x1 get that rank, all others `rank`, as
    sd-scripts does. `alpha` None leaves the alpha tensors out.
    """
    import torch

    linear, conv = LORAS.get(family, (family, None))
    name = linear if conv_rank is None and linear else conv
    assert name is not None, f"no manifest of a {family} LoRA with convolutions"
    default = FAMILIES[family.removesuffix("-diffusers-names")][1]
    divisor = default if width_divisor is None else width_divisor
    shapes = manifest(name)
    tensors = {}
    for key, spec in shapes.items():
        if divisor != 1 and not is_shallow(key):
            continue
        module, _, part = key.partition(".")
        if part == "alpha":
            if alpha is not None:
                tensors[key] = torch.tensor(alpha, dtype=_torch_dtype(dtype))
            continue
        has_kernel = any(size > 1 for size in shapes[f"{module}.lora_down.weight"].shape[2:])
        r = conv_rank if has_kernel and conv_rank is not None else rank
        outer, inner, *kernel = shrink(spec.shape, divisor)
        shape = (r, inner, *kernel) if part == "lora_down.weight" else (outer, r, *kernel)
        tensors[key] = (_noise(key, shape, seed) * std).to(_torch_dtype(dtype))
    return tensors


def write_safetensors(
    path: Path | str, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write with the reference library; returns the path."""
    from safetensors.torch import save_file

    save_file(dict(tensors), str(path), metadata=dict(metadata) if metadata else None)
    return Path(path)


def write_sparse(path: Path, specs: Mapping[str, Spec], metadata: Mapping[str, str] | None = None) -> Path:
    """A file of full size that takes no room: a header, and a hole where the data would be."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for key, spec in sorted(specs.items(), key=lambda item: (-BITS[item[1].dtype], item[0])):
        end = offset + math.prod(spec.shape) * BITS[spec.dtype] // 8
        header[key] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
    return path


def _noise(key: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    import torch

    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()) ^ (seed * 0x9E3779B1 & 0xFFFFFFFF))
    return torch.randn(shape, generator=generator)


def _torch_dtype(name: str) -> torch.dtype:
    import torch

    names = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    return torch.float8_e4m3fn if name == "F8_E4M3" else names[name]
