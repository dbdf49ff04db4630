"""The rules of ComfyUI, A1111 and kohya for names and shapes, restated and held against our files."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from checkpoints import manifest, raw_manifest
from interop.conftest import EXTRACTIONS, Workshop

PARTS = ("lora_up.weight", "lora_down.weight", "alpha")
MODULES = {"sd1": {"linear": 264, "conv": 350}, "sdxl": {"linear": 986, "conv": 1052}}
TEXT = r"text_model_encoder_layers_\d+_(self_attn_(q|k|v|out)_proj|mlp_fc[12])"
SPELLING = {
    "sd1": rf"lora_te_{TEXT}|lora_unet_(down_blocks|mid_block|up_blocks)_\w+",
    "sdxl": rf"lora_te[12]_{TEXT}|lora_unet_(input_blocks|middle_block|output_blocks)_\w+",
}


def lora_of(workshop: Workshop, kind: str) -> dict[str, torch.Tensor]:
    workshop.extract(kind)
    return load_file(workshop.path(f"lora_{kind}"))


@pytest.mark.long
@pytest.mark.quick(1)
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_names_and_parts(workshop: Workshop, kind: str) -> None:
    """diffusers takes a file for kohya's only if every key is; Forge refuses one with 13 stray keys."""
    lora = lora_of(workshop, kind)
    modules = {key.partition(".")[0] for key in lora}
    assert set(lora) == {f"{module}.{part}" for module in modules for part in PARTS}
    assert all(re.fullmatch(SPELLING[workshop.family], module) for module in modules)
    assert len(modules) == MODULES[workshop.family][kind]


@pytest.mark.long
@pytest.mark.quick(2)
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_names_are_those_of_the_trainer(workshop: Workshop, kind: str) -> None:
    family = {"sd1": "sd15", "sdxl": "sdxl"}[workshop.family]
    assert lora_of(workshop, kind).keys() == manifest(f"lora_kohya_{family}_{kind}").keys()


@pytest.mark.quick(1)
@pytest.mark.parametrize("kind", ["conv", "wide"])
def test_shapes_fit_the_weights(workshop: Workshop, kind: str) -> None:
    """U-Net names are paths with underscores: the original ones on SDXL, diffusers' on SD 1.5."""
    lora = lora_of(workshop, kind)
    shapes = unet_shapes(workshop)
    for module in {key.partition(".")[0] for key in lora if key.startswith("lora_unet_")}:
        up, down = lora[f"{module}.lora_up.weight"], lora[f"{module}.lora_down.weight"]
        out, inner, *kernel = shapes[module]
        assert up.shape[1] == down.shape[0]
        assert up.shape == (out, up.shape[1], *(1 for _ in kernel))
        assert down.shape == (down.shape[0], inner, *kernel)


def unet_shapes(workshop: Workshop) -> dict[str, tuple[int, ...]]:
    base = load_file(workshop.path("A"))
    prefix = "model.diffusion_model."
    paths = {key: key.removeprefix(prefix) for key in base if key.startswith(prefix)}
    if workshop.family == "sd1":
        paths = {key: str(raw_manifest("map_sd15_unet")[key]) for key in paths}
    return {
        "lora_unet_" + path.removesuffix(".weight").replace(".", "_"): tuple(base[key].shape)
        for key, path in paths.items()
        if path.endswith(".weight")
    }


@pytest.mark.quick(2)
@pytest.mark.parametrize("kind", ["conv", "wide"])
@pytest.mark.long
def test_one_alpha_as_a_scalar(workshop: Workshop, kind: str) -> None:
    """diffusers mixes up alphas that differ; all readers take a scalar."""
    lora = lora_of(workshop, kind)
    alphas = [tensor for key, tensor in lora.items() if key.endswith(".alpha")]
    nominal = float(EXTRACTIONS[kind].split("rank=")[1].split(",")[0])
    assert {(tensor.shape, float(tensor)) for tensor in alphas} == {(torch.Size([]), nominal)}
    assert {tensor.dtype for tensor in lora.values()} == {torch.float16}


def test_metadata_is_text_that_tools_know(workshop: Workshop) -> None:
    workshop.extract("linear")
    with safe_open(str(workshop.path("lora_linear")), "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_network_module"] == "networks.lora"
    assert metadata["ss_network_dim"] == "4"
    assert float(metadata["ss_network_alpha"]) == 4.0
    version = {"sd1": "sd_v1", "sdxl": "sdxl_base_v1-0"}[workshop.family]
    assert metadata["ss_base_model_version"] == version
    family = {"sd1": "stable-diffusion-v1/lora", "sdxl": "stable-diffusion-xl-v1-base/lora"}
    assert metadata["modelspec.architecture"] == family[workshop.family]
    assert len(metadata["sshs_model_hash"]) == 64


def test_a_merged_checkpoint_has_the_keys_of_its_base(workshop: Workshop) -> None:
    """kohya loads each part strictly: one key more or less and it stops; ComfyUI would leave memory unset."""
    base, merged = load_file(workshop.path("A")), load_file(workshop.path("merged"))
    assert {key: (t.shape, t.dtype) for key, t in merged.items()} == {
        key: (t.shape, t.dtype) for key, t in base.items()
    }
    ids = [key for key in merged if key.endswith("position_ids")]
    assert [merged[key].tolist() for key in ids] == [[list(range(77))]]
