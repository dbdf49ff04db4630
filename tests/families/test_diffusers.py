"""The diffusers layout: a bijection of pieces, both ways, against name maps made by diffusers itself."""

from __future__ import annotations

import pytest

import checkpoints
from loralathe.families import Family
from loralathe.families.components import Piece
from loralathe.families.sd1 import SD1
from loralathe.families.sd2 import SD2
from loralathe.families.sdxl import SDXL

LAYOUTS = {  # checkpoint → component → manifest of the diffusers file
    (SD1, "ckpt_sd15"): {
        "unet": "diffusers_unet_sd15",
        "te1": "diffusers_te_clip_l",
        "vae": "diffusers_vae_sd",
    },
    (SD2, "ckpt_sd21_768v"): {
        "unet": "diffusers_unet_sd21",
        "te1": "diffusers_te_sd21",
        "vae": "diffusers_vae_sd",
    },
    (SDXL, "ckpt_sdxl_base"): {
        "unet": "diffusers_unet_sdxl",
        "te1": "diffusers_te_clip_l",
        "te2": "diffusers_te2_sdxl",
        "vae": "diffusers_vae_sd",
    },
}
UNUSED = {
    SD1: {"cond_stage_model.transformer.text_model.embeddings.position_ids"},
    SD2: {"cond_stage_model.model.logit_scale", "cond_stage_model.model.text_projection"},
    SDXL: {
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids",
        "conditioner.embedders.1.model.logit_scale",
    },
}
each_layout = pytest.mark.parametrize(
    ("family", "name", "components"),
    [(family, name, components) for (family, name), components in LAYOUTS.items()],
    ids=[family.id for family, _ in LAYOUTS],
)


def transformed(piece: Piece, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the diffusers tensor that a piece of a tensor of this shape becomes."""
    if piece.part is not None:
        assert shape[0] % piece.part[1] == 0
        shape = (shape[0] // piece.part[1], *shape[1:])
    if piece.transform == "transpose":
        return shape[::-1]
    if piece.transform == "conv1x1_to_linear":
        assert shape[2:] == (1, 1)
        return shape[:2]
    return shape


def pieces(family: Family, components: dict[str, str]) -> dict[tuple[str, str], Piece]:
    """(component, diffusers key) → piece, for every tensor of the diffusers files."""
    found = {}
    for component, file in components.items():
        for key in checkpoints.manifest(file):
            piece = family.component(component).piece_of_diffusers(key)
            assert piece is not None, key
            found[component, key] = piece
    return found


@each_layout
def test_every_diffusers_tensor_comes_from_one_piece(
    family: Family, name: str, components: dict[str, str]
) -> None:
    original = checkpoints.manifest(name)
    for (component, key), piece in pieces(family, components).items():
        wanted = checkpoints.manifest(components[component])[key].shape
        assert transformed(piece, original[piece.key].shape) == wanted, key


@each_layout
def test_every_original_tensor_is_used_once_but_for_those_listed_here(
    family: Family, name: str, components: dict[str, str]
) -> None:
    parts: dict[str, list[tuple[int, int] | None]] = {}
    for piece in pieces(family, components).values():
        parts.setdefault(piece.key, []).append(piece.part)
    assert all(sorted(found, key=str) in ([None], [(0, 3), (1, 3), (2, 3)]) for found in parts.values())
    unused = checkpoints.manifest(name).keys() - parts.keys()
    if family is SD2:  # it reads the layer before the last
        last = {key for key in unused if key.startswith("cond_stage_model.model.transformer.resblocks.23.")}
        assert len(last) == 12
        unused -= last
    assert unused == UNUSED[family]


def test_names_agree_with_diffusers_own_conversion() -> None:
    for family, component, name in (
        (SD1, "unet", "map_sd15_unet"),
        (SDXL, "unet", "map_sdxl_unet"),
        (SDXL, "vae", "map_vae"),
    ):
        for original, value in checkpoints.raw_manifest(name).items():
            diffusers = value["diffusers"] if isinstance(value, dict) else str(value)
            piece = family.component(component).piece_of_diffusers(diffusers)
            assert piece is not None
            assert piece.key == original
            assert (piece.transform == "conv1x1_to_linear") == isinstance(value, dict)


@pytest.mark.parametrize(
    ("family", "component", "name"), [(SDXL, "te2", "map_sdxl_te2"), (SD2, "te1", "map_sd21_te")]
)
def test_encoder_slices_agree_with_diffusers_own_conversion(
    family: Family, component: str, name: str
) -> None:
    shapes = checkpoints.manifest("ckpt_sdxl_base" if family is SDXL else "ckpt_sd21_768v")
    for diffusers, value in checkpoints.raw_manifest(name).items():
        piece = family.component(component).piece_of_diffusers(diffusers)
        assert piece is not None
        entry = value if isinstance(value, dict) else {"original": value}
        assert piece.key == entry["original"]
        assert (piece.transform == "transpose") == entry.get("transpose", False)
        rows = None
        if piece.part is not None:
            size = shapes[piece.key].shape[0] // piece.part[1]
            rows = [piece.part[0] * size, (piece.part[0] + 1) * size]
        assert rows == entry.get("rows")


def test_unknown_diffusers_names_have_no_piece() -> None:
    assert SDXL.component("unet").piece_of_diffusers("down_blocks.7.resnets.0.conv1.weight") is None
    assert SDXL.component("unet").piece_of_diffusers("conv_in.scale") is None
    assert SDXL.component("te2").piece_of_diffusers("text_projection.bias") is None
