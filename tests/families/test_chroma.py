"""Chroma: its files, and LoRAs beside those of Flux.1, whose names it has but for modulations."""

from __future__ import annotations

import pytest

import checkpoints
from checkpoints import FakeHeader, Spec
from loralathe.adapters import address_of_raw, detect_adapter, own_family
from loralathe.errors import InputError
from loralathe.families import DENOISER_PREFIX, detect_checkpoint
from loralathe.families.chroma import CHROMA
from loralathe.families.flux import FLUX

ALONE = checkpoints.manifest("ckpt_chroma")


@pytest.mark.parametrize("prefix", ["", DENOISER_PREFIX])
@pytest.mark.parametrize("norm", ["scale", "weight"])
def test_files_are_recognised(prefix: str, norm: str) -> None:
    tensors = {f"{prefix}{key.removesuffix('scale')}{norm}" if key.endswith(".scale") else prefix + key: spec
               for key, spec in ALONE.items()}  # fmt: skip
    found = detect_checkpoint(FakeHeader(tensors, {}))
    assert (found.family, found.variant, found.components) == (CHROMA, "base", ("unet",))
    assert all(CHROMA.knows_key(key) for key in tensors)
    del tensors[f"{prefix}distilled_guidance_layer.layers.3.in_layer.bias"]
    with pytest.raises(InputError, match="this Chroma checkpoint is incomplete: 1 tensor"):
        detect_checkpoint(FakeHeader(tensors, {}))


@pytest.mark.parametrize("prefix", ["", DENOISER_PREFIX])
def test_radiance_is_named(prefix: str) -> None:
    tensors = {prefix + key: spec for key, spec in ALONE.items() if not key.startswith("img_in")}
    tensors[f"{prefix}nerf_blocks.0.norm.scale"] = Spec((64,))
    with pytest.raises(InputError, match="this is Chroma Radiance, a Chroma that works on pixels"):
        detect_checkpoint(FakeHeader(tensors, {}))


def test_blocks() -> None:
    assert CHROMA.short_blocks == FLUX.short_blocks
    assert CHROMA.long_blocks == ("T5", "IN", *FLUX.short_blocks, "OUT")
    for key in ALONE:
        if key.startswith("distilled_guidance_layer."):
            assert CHROMA.block_of_key(key) == "IN"


def lora(*starts: str) -> dict[str, Spec]:
    """Names of Flux.1's trainer for the layers that begin so."""
    return {
        key: spec
        for key, spec in checkpoints.manifest("lora_kohya_flux_unet_only").items()
        if key.startswith(starts)
    }


def test_modulations_tell_flux_1_and_notes_the_rest() -> None:
    with_modulation = lora("lora_unet_double_blocks_0", "lora_unet_single_blocks_0")
    assert detect_adapter(FakeHeader(with_modulation, {})).families == (FLUX,)
    plain = lora("lora_unet_double_blocks_0_img_mlp", "lora_unet_single_blocks_0_linear")
    for metadata, family in (
        ({}, FLUX),  # the older of the two
        ({"ss_base_model_version": "chroma"}, CHROMA),
        ({"modelspec.architecture": "chroma/lora"}, CHROMA),
        ({"modelspec.architecture": "flux-1-dev/lora"}, FLUX),
    ):
        header = FakeHeader(plain, metadata)
        detected = detect_adapter(header)
        assert set(detected.families) == {FLUX, CHROMA}
        assert own_family(header, detected) is family  # type: ignore[arg-type]


def test_layers_that_flux_1_alone_has() -> None:
    for path in ("double_blocks.0.img_mod.lin", "single_blocks.3.modulation.lin", "time_in.in_layer",
                 "final_layer.adaLN_modulation.1"):  # fmt: skip
        for raw in (f"diffusion_model.{path}", f"lora_unet_{path.replace('.', '_')}"):
            assert address_of_raw(FLUX, raw) is not None
            assert address_of_raw(CHROMA, raw) is None
