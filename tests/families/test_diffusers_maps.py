"""Transformers against diffusers' own conversion: each layout's tensors are the other's, or their rows.

The maps come from marked tensors that diffusers converted; the originals' names and shapes from the model
classes of trainers. Neither is ours.
"""

from __future__ import annotations

import pytest

import checkpoints
from loralathe.adapters import address_of_raw
from loralathe.families import Family
from loralathe.families.chroma import CHROMA
from loralathe.families.flux import FLUX
from loralathe.families.flux2 import FLUX2, KLEIN_4B, KLEIN_9B
from loralathe.families.recognition import DENOISER_PREFIX
from loralathe.families.sd3 import SD3, SD35_LARGE, SD35_MEDIUM

MAPS = [
    (FLUX, "ckpt_flux_dev", "flux"),
    (SD3, "ckpt_sd3_medium", "sd3_medium"),
    (SD35_MEDIUM, "ckpt_sd35_medium", "sd35_medium"),
    (SD35_LARGE, "ckpt_sd35_large", "sd35_large"),
    (CHROMA, "ckpt_chroma", "chroma"),
    (FLUX2, "ckpt_flux2_dev", "flux2_dev"),
    (KLEIN_9B, "ckpt_klein9b", "klein9b"),
    (KLEIN_4B, "ckpt_klein4b", "klein4b"),
]
IDS = [name for _, _, name in MAPS]


def original_of(value: object) -> tuple[str, list[int] | None, bool]:
    """Key in the original layout behind its prefix, rows, whether halves change places."""
    entry = value if isinstance(value, dict) else {"original": value}
    key = str(entry["original"]).removeprefix(DENOISER_PREFIX)
    return key, entry.get("rows"), bool(entry.get("halves_swapped"))


@pytest.mark.parametrize(("family", "checkpoint", "name"), MAPS, ids=IDS)
def test_the_layouts_are_each_others(family: Family, checkpoint: str, name: str) -> None:
    component = family.component("unet")
    shapes = {
        key.removeprefix(DENOISER_PREFIX): spec.shape
        for key, spec in checkpoints.manifest(checkpoint).items()
        if family.component_of_key(key) == "unet"
    }
    wanted = checkpoints.manifest(f"diffusers_transformer_{name}")
    names = checkpoints.raw_manifest(f"map_{name}_transformer")
    assert names.keys() == wanted.keys()
    covered: dict[str, int] = dict.fromkeys(shapes, 0)
    for key, value in names.items():
        piece = component.piece_of_diffusers(key)
        assert piece is not None, key
        original, rows, swapped = original_of(value)
        assert piece.key.removeprefix(component.prefix) == original, key
        height = shapes[original][0]
        found = piece.rows(height)
        assert [found.start, found.stop] == (rows or [0, height]), key
        assert (piece.transform == "halves_swapped") == swapped, key
        assert (len(found), *shapes[original][1:]) == wanted[key].shape, key
        covered[original] += len(found)
    assert covered == {key: shape[0] for key, shape in shapes.items()}


@pytest.mark.parametrize(("family", "checkpoint", "name"), MAPS, ids=IDS)
def test_names_of_adapters_are_those_of_the_layout(family: Family, checkpoint: str, name: str) -> None:
    """PEFT's and LyCORIS' name of every layer is a module, or the rows of one that diffusers takes."""
    shapes = checkpoints.manifest(checkpoint)
    modules = family.modules(shapes)
    for key, value in checkpoints.raw_manifest(f"map_{name}_transformer").items():
        path, _, role = key.rpartition(".")
        if role != "weight":
            continue
        original, rows, swapped = original_of(value)
        for raw in (f"transformer.{path}", f"lycoris_{path.replace('.', '_')}"):
            place = address_of_raw(family, raw)
            assert place is not None, raw
            module = modules[place.module]
            assert module.key.removeprefix(DENOISER_PREFIX) == original
            assert place.swapped == swapped
            if rows is None:
                assert place.slot is None
            else:
                assert place.slot is not None
                unit = shapes[module.key].shape[0] // sum(place.ratios)
                start = sum(place.ratios[: place.slot]) * unit
                assert rows == [start, start + place.ratios[place.slot] * unit]
