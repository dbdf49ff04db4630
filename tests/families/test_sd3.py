"""SD 3 and SD 3.5: which of the three a file is, and which a LoRA is for."""

from __future__ import annotations

import re

import pytest

import checkpoints
from checkpoints import FakeHeader, Spec
from loralathe.adapters import detect_adapter, own_family
from loralathe.errors import InputError
from loralathe.families import DENOISER_PREFIX, Family, detect_checkpoint
from loralathe.families.sd3 import SD3, SD35_LARGE, SD35_MEDIUM

CHECKPOINTS = {SD3: "ckpt_sd3_medium", SD35_MEDIUM: "ckpt_sd35_medium", SD35_LARGE: "ckpt_sd35_large"}
MODULES = {SD3: 237, SD35_MEDIUM: 263, SD35_LARGE: 377}
"""Layers that sd-scripts trains."""


@pytest.mark.parametrize("family", CHECKPOINTS, ids=lambda family: family.id)
@pytest.mark.parametrize("prefix", ["", DENOISER_PREFIX])
def test_each_is_recognised(family: Family, prefix: str) -> None:
    tensors = {
        prefix + key.removeprefix(DENOISER_PREFIX): spec
        for key, spec in checkpoints.manifest(CHECKPOINTS[family]).items()
        if key.startswith(DENOISER_PREFIX)
    }
    found = detect_checkpoint(FakeHeader(tensors, {}))
    assert (found.family, found.variant, found.prediction) == (family, "base", "flow")
    assert found.components == ("unet",)
    depth = len(family.denoiser.short_blocks())
    del tensors[f"{prefix}joint_blocks.{depth - 1}.context_block.adaLN_modulation.1.bias"]
    with pytest.raises(InputError, match=f"this {re.escape(family.label)} checkpoint is incomplete: 1 "):
        detect_checkpoint(FakeHeader(tensors, {}))


def lora_of(family: Family) -> dict[str, Spec]:
    """As sd-scripts makes it: of every matrix in the joint blocks."""
    found = {}
    for key, spec in checkpoints.manifest(CHECKPOINTS[family]).items():
        if "joint_blocks" in key and len(spec.shape) == 2:
            path = key.removeprefix(DENOISER_PREFIX).removesuffix(".weight").replace(".", "_")
            found[f"lora_unet_{path}.lora_up.weight"] = Spec((spec.shape[0], 4))
            found[f"lora_unet_{path}.lora_down.weight"] = Spec((4, spec.shape[1]))
    return found


@pytest.mark.parametrize("family", CHECKPOINTS, ids=lambda family: family.id)
def test_a_lora_is_told_by_its_blocks_and_shapes(family: Family) -> None:
    tensors = lora_of(family)
    assert len(tensors) == 2 * MODULES[family]
    header = FakeHeader(tensors, {})
    detected = detect_adapter(header)
    assert detected.unmatched == ()
    assert own_family(header, detected) is family  # type: ignore[arg-type]
    narrow = {key: Spec(tuple(size // 16 or size for size in spec.shape)) for key, spec in tensors.items()}
    assert own_family(FakeHeader(narrow, {}), detect_adapter(FakeHeader(narrow, {}))) is family  # type: ignore[arg-type]


def test_a_lora_that_fits_two_is_told_by_its_metadata() -> None:
    part = {key: spec for key, spec in lora_of(SD3).items() if "_blocks_3_x_block_attn" in key}
    assert set(detect_adapter(FakeHeader(part, {})).families) == {SD3, SD35_MEDIUM, SD35_LARGE}
    for family in CHECKPOINTS:
        header = FakeHeader(part, {"modelspec.architecture": f"{family.words.epsilon.spec}/lora"})
        assert own_family(header, detect_adapter(header)) is family  # type: ignore[arg-type]
