"""The diffusers layout: a bijection of pieces, both ways, against name maps made by diffusers itself."""

from __future__ import annotations

import pytest

import checkpoints
from loralathe.families import (
    SD1,
    SD2,
    SDXL,
    Family,
    Piece,
    diffusers_map,
)

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


@each_layout
def test_every_diffusers_tensor_comes_from_one_piece(
    family: Family, name: str, components: dict[str, str]
) -> None:
    original = checkpoints.manifest(name)
    mapped = diffusers_map(family, original)
    wanted = {
        (part, key): spec
        for part, file in components.items()
        for key, spec in checkpoints.manifest(file).items()
    }
    assert mapped.pieces.keys() == wanted.keys()
    for place, piece in mapped.pieces.items():
        assert transformed(piece, original[piece.key].shape) == wanted[place].shape, place


@each_layout
def test_pieces_and_remainder_cover_every_original_tensor_once(
    family: Family, name: str, components: dict[str, str]
) -> None:
    original = checkpoints.manifest(name)
    mapped = diffusers_map(family, original)
    parts: dict[str, list[tuple[int, int] | None]] = {}
    for piece in mapped.pieces.values():
        parts.setdefault(piece.key, []).append(piece.part)
    assert parts.keys() | mapped.remainder.keys() == original.keys()
    assert not parts.keys() & mapped.remainder.keys()
    assert all(sorted(found, key=str) in ([None], [(0, 3), (1, 3), (2, 3)]) for found in parts.values())


@each_layout
def test_the_way_back_finds_the_same_piece(family: Family, name: str, components: dict[str, str]) -> None:
    for (part, key), piece in diffusers_map(family, checkpoints.manifest(name)).pieces.items():
        assert family.piece_of_diffusers(part, key) == piece


def test_the_remainder_is_what_is_listed_here() -> None:
    te = "cond_stage_model."
    assert diffusers_map(SD1, checkpoints.manifest("ckpt_sd15")).remainder == {
        f"{te}transformer.text_model.embeddings.position_ids": "position ids"
    }
    assert diffusers_map(SDXL, checkpoints.manifest("ckpt_sdxl_base")).remainder == {
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": "position ids",
        "conditioner.embedders.1.model.logit_scale": "logit scale, unused in pictures",
    }
    sd2 = dict(diffusers_map(SD2, checkpoints.manifest("ckpt_sd21_768v")).remainder)
    assert sd2.pop(f"{te}model.logit_scale") == "logit scale, unused in pictures"
    assert sd2.pop(f"{te}model.text_projection") == "the diffusers model lacks it"
    assert len(sd2) == 12
    assert all(key.startswith(f"{te}model.transformer.resblocks.23.") for key in sd2)
    assert set(sd2.values()) == {"last layer, not used"}


@pytest.mark.parametrize(
    ("family", "name"), [(SD1, "map_sd15_unet"), (SDXL, "map_sdxl_unet"), (SDXL, "map_vae")]
)
def test_names_agree_with_diffusers_own_conversion(family: Family, name: str) -> None:
    for original, value in checkpoints.raw_manifest(name).items():
        (piece,) = family.pieces_of_key(original)
        expected = value["diffusers"] if isinstance(value, dict) else value
        assert piece.diffusers_key == expected
        assert (piece.transform == "conv1x1_to_linear") == isinstance(value, dict)


@pytest.mark.parametrize(
    ("family", "component", "name"), [(SDXL, "te2", "map_sdxl_te2"), (SD2, "te1", "map_sd21_te")]
)
def test_encoder_slices_agree_with_diffusers_own_conversion(
    family: Family, component: str, name: str
) -> None:
    shapes = checkpoints.manifest("ckpt_sdxl_base" if family is SDXL else "ckpt_sd21_768v")
    for diffusers, value in checkpoints.raw_manifest(name).items():
        piece = family.piece_of_diffusers(component, diffusers)
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
    assert SDXL.piece_of_diffusers("unet", "down_blocks.7.resnets.0.conv1.weight") is None
    assert SDXL.piece_of_diffusers("unet", "conv_in.scale") is None
    assert SDXL.piece_of_diffusers("te3", "conv_in.weight") is None
    assert SDXL.piece_of_diffusers("te2", "text_projection.bias") is None


def test_a_tensor_under_two_spellings_is_mapped_once() -> None:
    stored = "conditioner.embedders.1.model.text_projection"
    mapped = diffusers_map(SDXL, [stored, f"{stored}.weight"])
    assert [piece.key for piece in mapped.pieces.values()] == [stored]
    assert mapped.remainder == {f"{stored}.weight": "a second spelling of a tensor that is there already"}
