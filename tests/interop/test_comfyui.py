"""ComfyUI's rules for LoRAs, restated: which names it finds, and what it adds to a weight.

It takes one name after another from its table and looks for tensors that begin so. What is left over is a
line in its log, no error. (`load_lora`, `model_lora_keys_clip`, `model_lora_keys_unet`, `LoRAAdapter`)
"""

from __future__ import annotations

import re

import pytest
import torch

from checkpoints import manifest, raw_manifest
from loralathe.adapters import AdapterFormat, kohya_tensors
from loralathe.families import Family, family_by_id
from loralathe.families.sd1 import SD1
from loralathe.lowrank import Factors

CHECKPOINTS = {
    "sd1": "ckpt_sd15", "sd2": "ckpt_sd21_768v", "sdxl": "ckpt_sdxl_base", "flux": "ckpt_flux_dev_all_in_one",
}  # fmt: skip
DENOISER, T5 = "model.diffusion_model.", "text_encoders.t5xxl.transformer."
CLIP = re.compile(r"lora_te[12]?_text_model_encoder_layers_\d+_(self_attn_(q|k|v|out)_proj|mlp_fc[12])")
"""Its table of text encoders has these six layers and no others: no embeddings, no norms."""
EMBEDDINGS = ("token_embedding", "position_embedding")
ENCODERS = {"sd1": ("te",), "sd2": ("te",), "sdxl": ("te1", "te2"), "flux": ("te1",)}
IGNORED = {
    name: {f"lora_{encoder}_text_model_embeddings_{one}" for encoder in encoders for one in EMBEDDINGS}
    for name, encoders in ENCODERS.items()
}
IGNORED["sd2"].add("lora_te_text_projection")
"""What `combine` and `resize` write if a LoRA has it, and ComfyUI leaves out; docs/loras.md says so."""
CASES = {
    "linear": ("unet.input_blocks.4.1.transformer_blocks.0.attn1.to_q", (6, 5), 3, 3),
    "1x1": ("unet.input_blocks.4.1.proj_in", (6, 5, 1, 1), 3, 3),
    "3x3": ("unet.input_blocks.4.0.in_layers.2", (6, 5, 3, 3), 3, 3),
    "Tucker": ("unet.input_blocks.4.0.in_layers.2", (6, 5, 3, 3), 3, 3),
    "Tucker, two ranks": ("unet.input_blocks.4.0.in_layers.2", (6, 5, 3, 3), 4, 2),
}


def names_of_denoiser(family: Family) -> set[str]:
    """The path of each weight with underscores; for U-Nets diffusers' path, too."""
    keys = [key for key in manifest(CHECKPOINTS[family.id]) if key.endswith(".weight")]
    paths = [key.removeprefix(DENOISER) for key in keys if key.startswith(DENOISER)]
    if family.id in ("sd1", "sd2"):  # their layers have the same paths
        paths += [str(path) for path in raw_manifest("map_sd15_unet").values()]
    return {"lora_unet_" + path.removesuffix(".weight").replace(".", "_") for path in paths}


def names_of_texts(family: Family) -> set[str]:
    """The projection of SDXL's second encoder, and all of T5, which is the third."""
    keys = [key.removeprefix(T5) for key in manifest(CHECKPOINTS[family.id]) if key.startswith(T5)]
    t5 = {"lora_te3_" + key.removesuffix(".weight").replace(".", "_") for key in keys}
    return t5 | ({"lora_te2_text_projection"} if family.id == "sdxl" else set())


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_matrix_has_a_name_that_it_finds(name: str) -> None:
    family = family_by_id(name)
    modules = {module for key in manifest(CHECKPOINTS[name]) for module in family.modules_of_key(key)}
    written = {
        family.kohya_name(module.name)
        for module in modules
        if module.scope != "vector" and not module.name.startswith("vae.")
    }
    found = names_of_denoiser(family) | names_of_texts(family)
    assert {one for one in written - found if not CLIP.fullmatch(one)} == IGNORED[name]
    assert len(written) > 250


def delta(tensors: dict[str, torch.Tensor], shape: tuple[int, ...]) -> torch.Tensor:
    """What it adds at strength 1: alpha / rows of down; the core between up and down must be square."""
    parts = {key.partition(".")[2]: tensor for key, tensor in tensors.items()}
    up, down = parts["lora_up.weight"], parts["lora_down.weight"]
    scale = parts["alpha"].item() / len(down)
    if (core := parts.get("lora_mid.weight")) is not None:
        turned = down.transpose(0, 1).flatten(1) @ core.transpose(0, 1).flatten(1)
        down = turned.reshape(down.shape[1], down.shape[0], *core.shape[2:]).transpose(0, 1)
    return scale * (up.flatten(1) @ down.flatten(1)).reshape(shape)


@pytest.mark.parametrize("pad", [None, 5])
@pytest.mark.parametrize("case", CASES)
def test_it_adds_what_we_mean(case: str, pad: int | None) -> None:
    name, shape, upper, lower = CASES[case]
    torch.manual_seed(1)
    out, inner, *kernel = shape
    core = torch.randn(upper, lower, *kernel) if case.startswith("Tucker") else None
    width = inner if core is not None else inner * (kernel[0] ** 2 if kernel else 1)
    factors = Factors(torch.randn(out, upper), torch.randn(lower, width), shape, core)
    written = kohya_tensors(name, factors, shape, AdapterFormat(SD1, alpha=7.0, dtype="F32", pad_to=pad))
    if core is None:
        meant = factors.up @ factors.down
    else:
        meant = torch.einsum("or,rskl,si->oikl", factors.up, core, factors.down)
    found = delta({tensor.name: tensor.tensor for tensor in written}, shape)
    torch.testing.assert_close(found, meant.reshape(shape))
