"""Checkpoints in the diffusers layout, read as in the original one: other names, rows in another order.

A U-Net or transformer alone, as a folder of diffusers holds it in one file. What is made of it has the
original names. Nothing is computed: every tensor is runs of the bytes of others.
"""

from __future__ import annotations

from collections.abc import Mapping

from loralathe.families.components import Piece
from loralathe.families.family import FAMILIES, Family
from loralathe.tensorfiles import Arrangement, RearrangedFile, Run, TensorFile, TensorInfo

STARTS = ("", "transformer.", "unet.")
"""What may stand before the names."""


def in_original_layout(file: TensorFile) -> TensorFile:
    """The file itself, or a view of it if it is a whole U-Net or transformer in the diffusers layout."""
    tensors = file.header.tensors
    if any(family.signature.matches(tensors) for family in FAMILIES):
        return file
    for family in FAMILIES:
        found = arrangement(family, tensors)
        if found is not None:
            return RearrangedFile(file, found)
    return file


def arrangement(family: Family, tensors: Mapping[str, TensorInfo]) -> dict[str, Arrangement] | None:
    """Key of the original layout → how it is made; None for other files than this family's in the other."""
    denoiser = family.component("unet")
    pieces: dict[str, list[tuple[Piece, TensorInfo]]] = {}
    start = next((one for one in STARTS[1:] if next(iter(tensors), "").startswith(one)), "")
    for key, info in tensors.items():
        piece = denoiser.piece_of_diffusers(key[len(start) :]) if key.startswith(start) else None
        if piece is None:
            return None
        pieces.setdefault(piece.key, []).append((piece, info))
    made = {key: _arranged(found) for key, found in pieces.items()}
    whole = {key: one for key, one in made.items() if one is not None}
    if len(whole) < len(made) or not family.signature.matches(whole):
        return None
    return whole


def _arranged(found: list[tuple[Piece, TensorInfo]]) -> Arrangement | None:
    """One tensor of its pieces; None where one is missing, or the rows do not go together."""
    found = sorted(found, key=lambda one: one[0].slot or 0)
    piece, info = found[0]
    if piece.part is not None or piece.transform not in ("none", "halves_swapped"):
        return None
    if piece.slot is None:
        half = info.nbytes // 2 if piece.transform == "halves_swapped" else 0
        cuts = ((half, info.nbytes), (0, half)) if half else ((0, info.nbytes),)
        return Arrangement(info.shape, tuple(Run(info.name, *cut) for cut in cuts))
    alike = {(one.shape[1:], one.dtype, one.stored is None) for _, one in found}
    if [one.slot for one, _ in found] != list(range(len(piece.ratios))) or len(alike) > 1:
        return None
    rows = sum(one.shape[0] for _, one in found)
    runs = tuple(Run(one.name, 0, one.nbytes) for _, one in found)
    return Arrangement((rows, *info.shape[1:]), runs)
