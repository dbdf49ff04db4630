"""A whole checkpoint in the diffusers layout: which tensor comes from where, and what stays behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from loralathe.families.encoders import ENCODER_LAYERS, deepest_layer
from loralathe.families.family import Family, Piece


@dataclass(frozen=True, slots=True)
class DiffusersMap:
    """A bijection between pieces of original tensors and diffusers tensors, and its remainder.

    pieces:    (component id, diffusers key) → piece
    remainder: original key → why it has no place there
    """

    pieces: Mapping[tuple[str, str], Piece]
    remainder: Mapping[str, str]


def diffusers_map(family: Family, keys: Iterable[str]) -> DiffusersMap:
    """Map the keys of a checkpoint; every key ends either in at least one piece or in the remainder."""
    by_key = {key: family.pieces_of_key(key) for key in keys}
    dropped: set[str] = set()
    for part in family.parts:
        if part.last_layer_unused:
            names = {
                piece.diffusers_key
                for pieces in by_key.values()
                for piece in pieces
                if piece.component == part.id
            }
            dropped |= {f"{part.id}.{name}" for name in deepest_layer(names, ENCODER_LAYERS)}
    pieces: dict[tuple[str, str], Piece] = {}
    remainder: dict[str, str] = {}
    for key, found in by_key.items():
        kept = {
            (piece.component, piece.diffusers_key): piece
            for piece in found
            if f"{piece.component}.{piece.diffusers_key}" not in dropped
        }
        if not kept:
            remainder[key] = "last layer, not used" if found else _reason(family, key)
        elif kept.keys() & pieces.keys():
            remainder[key] = "a second spelling of a tensor that is there already"
        else:
            pieces |= kept
    return DiffusersMap(pieces, remainder)


def _reason(family: Family, key: str) -> str:
    rule = family.rule_for_key(key)
    if rule is not None:
        return rule
    if any(layer.slots for layer in family.layers_of_key(key)):
        return "several tensors there"
    return "the diffusers model lacks it" if family.knows_key(key) else f"no tensor of {family.label}"
