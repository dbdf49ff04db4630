"""Flux.2 against ComfyUI's table of names, and told from Flux.1, whose names and width it shares."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

import checkpoints
from checkpoints import FakeHeader, Spec
from loralathe.adapters import address_of_raw, detect_adapter, own_family
from loralathe.errors import InputError
from loralathe.families import DENOISER_PREFIX, Family, detect_checkpoint
from loralathe.families.flux import FLUX
from loralathe.families.flux2 import FLUX2, KLEIN_4B, KLEIN_9B

CHECKPOINTS = {FLUX2: "ckpt_flux2_dev", KLEIN_9B: "ckpt_klein9b", KLEIN_4B: "ckpt_klein4b"}
BLOCKS = {FLUX2: (8, 48), KLEIN_9B: (8, 24), KLEIN_4B: (5, 20)}
MLP_OF_FLUX1 = "proj_mlp"
"""ComfyUI's table has the last slice of `linear1` as long as Flux.1's: too short for any LoRA to fit."""


@pytest.mark.parametrize(("family", "name"), [(KLEIN_4B, "klein4b"), (KLEIN_9B, "klein9b")])
def test_names_that_comfyui_accepts_mean_the_same_layer(family: Family, name: str) -> None:
    shapes = checkpoints.manifest(f"ckpt_{name}")
    seen = 0
    for raw, value in checkpoints.raw_manifest(f"loranames_{name}").items():
        entry = value if isinstance(value, dict) else {"key": value}
        if entry["key"] not in shapes:
            continue  # a name of Flux.1 for a layer that Flux.2 lacks: nothing happens in ComfyUI
        seen += 1
        place = address_of_raw(family, raw)
        assert place is not None, raw
        module = family.module(place.module)
        assert module.key == DENOISER_PREFIX + str(entry["key"]), raw
        assert place.swapped == entry.get("halves_swapped", False), raw
        if "rows" not in entry:
            assert place.slot is None, raw
            continue
        assert place.slot is not None, raw
        unit = shapes[entry["key"]].shape[0] // sum(place.ratios)
        start = sum(place.ratios[: place.slot]) * unit
        stop = start + place.ratios[place.slot] * unit
        if raw.endswith(MLP_OF_FLUX1):
            assert (start, stop) == (entry["rows"][0], shapes[entry["key"]].shape[0])
        else:
            assert [start, stop] == entry["rows"], raw
    assert seen > 1000


@pytest.mark.parametrize("family", CHECKPOINTS, ids=lambda family: family.id)
@pytest.mark.parametrize("prefix", ["", DENOISER_PREFIX])
@pytest.mark.parametrize("norm", ["weight", "scale"])
@pytest.mark.parametrize("divisor", [1, 32])
def test_each_is_recognised_by_its_blocks(family: Family, prefix: str, norm: str, divisor: int) -> None:
    """Files of the first release call the norms of q and k `scale`; the width says nothing."""
    tensors = {
        prefix + key.replace("_norm.weight", f"_norm.{norm}"): Spec(checkpoints.shrink(spec.shape, divisor))
        for key, spec in checkpoints.manifest(CHECKPOINTS[family]).items()
    }
    if divisor != 1:
        tensors[f"{prefix}img_in.weight"] = Spec((96, 128))
    found = detect_checkpoint(FakeHeader(tensors, {}))
    assert (found.family, found.in_channels, found.prediction) == (family, 128, "flow")
    assert len(family.modules(tensors)) == len(tensors)
    del tensors[f"{prefix}single_stream_modulation.lin.weight"]
    with pytest.raises(InputError, match=f"this {family.label} checkpoint is incomplete: 1 tensor"):
        detect_checkpoint(FakeHeader(tensors, {}))


def test_blocks() -> None:
    for family, (double, single) in BLOCKS.items():
        names = [*(f"D{i:02d}" for i in range(double)), *(f"S{i:02d}" for i in range(single))]
        assert family.short_blocks == tuple(names)
        assert family.long_blocks == ("LLM", "IN", *names, "OUT")
        assert family.block_of_key("double_stream_modulation_img.lin.weight") == "IN"


def lora_of(manifest: str, ends: tuple[str, ...] = ("",), divisor: int = 1) -> dict[str, Spec]:
    """A LoRA of every matrix in the blocks, or of those with one of these ends."""
    found = {}
    for key, spec in checkpoints.manifest(manifest).items():
        if "_blocks." in key and len(spec.shape) == 2 and key.removesuffix(".weight").endswith(ends):
            rows, columns = (size // divisor for size in spec.shape)
            name = f"lora_unet_{key.removesuffix('.weight').replace('.', '_')}"
            found |= {
                f"{name}.lora_up.weight": Spec((rows, 4)),
                f"{name}.lora_down.weight": Spec((4, columns)),
            }
    return found


def families_of(tensors: Mapping[str, Spec]) -> set[Family]:
    return set(detect_adapter(FakeHeader(tensors, {})).families)


def family_of(tensors: Mapping[str, Spec]) -> Family:
    header = FakeHeader(tensors, {})
    return own_family(header, detect_adapter(header))  # type: ignore[arg-type]


@pytest.mark.parametrize("divisor", [1, 32])
def test_a_lora_is_told_from_flux_1_by_its_rows(divisor: int) -> None:
    """Names of both, at one width."""
    for family, manifest in CHECKPOINTS.items():
        assert family_of(lora_of(manifest, divisor=divisor)) is family
    assert family_of(lora_of("ckpt_flux_dev", divisor=divisor)) is FLUX
    part = ("_mlp.0", "linear1", "linear2", "_mlp.2")
    for end in part:
        flux1 = lora_of("ckpt_flux_dev", (end,), divisor)
        assert FLUX in families_of(flux1)
        assert not families_of(flux1) & {FLUX2, KLEIN_9B, KLEIN_4B}
        for family, manifest in CHECKPOINTS.items():
            found = lora_of(manifest, (end,), divisor)
            assert family in families_of(found)
            assert families_of(found) <= {FLUX2, KLEIN_9B, KLEIN_4B}


def test_attention_alone_is_told_by_the_last_block() -> None:
    for family, manifest in CHECKPOINTS.items():
        tensors = lora_of(manifest, ("_attn.qkv", "linear1"))
        assert family_of(tensors) is family
    assert family_of(lora_of("ckpt_klein4b", ("_attn.qkv",))) is KLEIN_4B
    assert family_of(lora_of("ckpt_flux_dev", ("_attn.qkv",))) is FLUX


def test_a_lora_of_one_layer_may_be_for_any_and_its_notes_tell() -> None:
    tensors = lora_of("ckpt_klein4b", ("double_blocks.2.img_mlp.0",))
    assert families_of(tensors) == {FLUX2, KLEIN_9B, KLEIN_4B}
    notes = {"ss_base_model_version": "flux2_klein_4b"}, {"modelspec.architecture": "Flux.2-klein-9b/lora"}
    for metadata, family in zip(notes, (KLEIN_4B, KLEIN_9B), strict=True):
        header = FakeHeader(tensors, metadata)
        assert own_family(header, detect_adapter(header)) is family  # type: ignore[arg-type]


def test_the_vae_of_the_release_has_two_layers_inside_its_halves() -> None:
    vae = KLEIN_4B.component("vae")
    assert vae.modern_key("vae.encoder.quant_conv.weight") == "vae.quant_conv.weight"
    assert vae.modern_key("vae.decoder.post_quant_conv.bias") == "vae.post_quant_conv.bias"
    assert KLEIN_4B.rule_for_key("vae.bn.running_mean") == "statistics of latents"
    assert KLEIN_4B.is_frozen("vae.bn.num_batches_tracked")
