"""The tiny models and adapters that `benchmarks.identity` runs on, of fixed seeds."""

from __future__ import annotations

import os
import re
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

HERE = Path(__file__).resolve().parent.parent
DIVISORS = {"sd1": 32, "sd2": 32, "sdxl": 32, "flux": 32}
MANIFESTS = {
    # input: (manifest, width divisor)
    "sdxl-loha": ("lora_lycoris_sdxl_loha", 32),
    "sdxl-loha-tucker": ("lora_lycoris_sdxl_loha_tucker", 32),
    "sdxl-locon-tucker": ("lora_lycoris_sdxl_locon_tucker", 32),
    "sdxl-dora": ("lora_lycoris_sdxl_dora", 32),
    "sdxl-full": ("lora_lycoris_sdxl_full", 32),
    "sdxl-norm": ("lora_lycoris_sdxl_locon_norm", 32),
    "sdxl-peft": ("lora_peft_sdxl_A_B", 32),
    "sdxl-peft-dora": ("lora_peft_sdxl_dora", 32),
    "sdxl-diffusers": ("lora_diffusers_sdxl_down_up", 32),
    "sd1-diffusers": ("lora_diffusers_sd15_down_up", 32),
    "flux-peft": ("lora_peft_flux_all_block_linears", 32),
}
PRESETS = f"Face:1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,0,0.5,1,1,1\nHalf:{','.join(['0.5'] * 17)}\n"
_FLUX_BLOCK = re.compile(r"(single_)?transformer_blocks\.(\d+)\.")

Tensors = dict[str, "torch.Tensor"]


def make_inputs(folder: Path) -> None:
    """All of them, in a folder that appears when it is whole."""
    sys.path[:0] = [str(HERE / "tests"), str(HERE / "src")]
    half_done = folder.with_name(f"{folder.name}.{os.getpid()}")
    half_done.mkdir(parents=True)
    _families(half_done)
    _kinds(half_done)
    _whole_layouts(half_done)
    _that_render(half_done)
    (half_done / "presets.txt").write_text(PRESETS, encoding="utf-8")
    half_done.rename(folder)


def _families(folder: Path) -> None:
    """FAMILY-a, -b (near a) and -c (near b), -lora and -style (with convolutions where there are any)."""
    import torch

    from checkpoints import LORAS, second_checkpoint, tiny_checkpoint, tiny_lora

    for family, divisor in DIVISORS.items():
        first = tiny_checkpoint(family, seed=1, width_divisor=divisor)
        second = second_checkpoint(first, 0.003, 2)
        third = second_checkpoint(second, 0.003, 3)
        _write(folder, f"{family}-a", first, {"modelspec.title": "first", "who": "a"})
        _write(folder, f"{family}-b", second, {"who": "b"})
        _write(folder, f"{family}-c", third)
        conv_rank = 2 if LORAS[family][1] else None
        lora = tiny_lora(family, rank=4, alpha=2, seed=5, width_divisor=divisor)
        notes = {"ss_output_name": "lora", "ss_network_dim": "4", "ss_tag_frequency": '{"x": {"girl": 3}}'}
        _write(folder, f"{family}-lora", lora, notes)
        style = tiny_lora(family, rank=4, alpha=4, conv_rank=conv_rank, seed=6, width_divisor=divisor)
        _write(folder, f"{family}-style", style, {"ss_tag_frequency": '{"y": {"girl": 1}}'})
        if family == "sd1":
            torch.save({"state_dict": first, "global_step": 7}, folder / "sd1-a.ckpt")
            torch.save(lora, folder / "sd1-lora.pt")
            bits = {k: t.float() if t.is_floating_point() else t for k, t in third.items()}
            _write(folder, "sd1-fp32", bits)
            stem = "first_stage_model."
            vae = {key.removeprefix(stem): tensor for key, tensor in bits.items() if key.startswith(stem)}
            torch.save({"state_dict": vae}, folder / "sd1.vae.pt")
            (folder / "sd1-c.yaml").write_text("model: {}\n", encoding="utf-8")


def _kinds(folder: Path) -> None:
    """sd1-loha, -lokr, -dora, -full and -peft: for the layers of a LoRA of all layers of SD 1."""
    from checkpoints import tiny_lora

    lora = tiny_lora("sd1", rank=4, alpha=2, conv_rank=2, seed=7, width_divisor=DIVISORS["sd1"], dtype="F32")
    kinds: dict[str, Tensors] = {"loha": {}, "lokr": {}, "dora": {}, "full": {}}
    for key, up in lora.items():
        module, _, part = key.partition(".")
        if part != "lora_up.weight":
            continue
        down, alpha = lora[f"{module}.lora_down.weight"], lora[f"{module}.alpha"]
        outer, inner, kernel = up.shape[0], down.shape[1], tuple(down.shape[2:])
        cells = 1
        for size in kernel:
            cells *= size
        new = _Maker(module)
        kinds["loha"] |= new(hada_w1_a=(outer, 2), hada_w1_b=(2, inner * cells), hada_w2_a=(outer, 2))
        kinds["loha"] |= new(hada_w2_b=(2, inner * cells)) | {f"{module}.alpha": alpha}
        split = 2 if outer % 2 == inner % 2 == 0 else 1
        kinds["lokr"] |= new(lokr_w1=(split, split), lokr_w2=(outer // split, inner // split, *kernel))
        kinds["full"] |= new(diff=(outer, inner, *kernel))
        kinds["dora"] |= {f"{module}.lora_up.weight": up, f"{module}.lora_down.weight": down}
        scale = new(dora_scale=(outer, *(1 for _ in down.shape[1:])))
        kinds["dora"] |= {name: value.abs() + 0.2 for name, value in scale.items()}
        kinds["dora"][f"{module}.alpha"] = alpha
    for kind, tensors in kinds.items():
        _write(folder, f"sd1-{kind}", tensors)


def _whole_layouts(folder: Path) -> None:
    """Files of other trainers as their manifests have them, narrowed."""
    import torch

    from checkpoints import manifest, shrink

    for name, (source, divisor) in MANIFESTS.items():
        tensors = {}
        for key, spec in manifest(source).items():
            found = _FLUX_BLOCK.search(key)
            if name.startswith("flux") and found and int(found[2]) >= (3 if found[1] else 2):
                continue
            value = _noise(f"{name} {key}", shrink(spec.shape, divisor)) * 0.1
            if key.endswith(".alpha"):
                value = torch.tensor(4.0)
            elif "dora_scale" in key or "magnitude" in key:
                value = value.abs() + 0.2
            tensors[key] = value.half()
        _write(folder, name, tensors)


def _that_render(folder: Path) -> None:
    """render-a, -b and -lora, -mio, -conv of SD 1; render-xl and -xlora."""
    from checkpoints import second_checkpoint
    from rendering.conftest import make_checkpoint, make_lora

    first = make_checkpoint("sd1")
    _write(folder, "render-a", first)
    _write(folder, "render-b", second_checkpoint(first, 0.02, 2))
    _write(folder, "render-xl", make_checkpoint("sdxl"))
    _write(folder, "render-xlora", make_lora("sdxl"))
    _write(folder, "render-lora", make_lora("sd1", seed=5))
    _write(folder, "render-mio", make_lora("sd1", seed=6))
    _write(folder, "render-conv", make_lora("sd1", seed=8, conv=True))


class _Maker:
    """Small random parts of one module, by name and shape."""

    def __init__(self, module: str) -> None:
        self.module = module

    def __call__(self, **shapes: tuple[int, ...]) -> Tensors:
        names = {part: f"{self.module}.{part}" for part in shapes}
        return {names[part]: _noise(names[part], shape) * 0.1 for part, shape in shapes.items()}


def _noise(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))


def _write(folder: Path, name: str, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> None:
    from checkpoints import write_safetensors

    contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
    write_safetensors(folder / f"{name}.safetensors", contiguous, metadata)
