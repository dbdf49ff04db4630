"""Checkpoints in the diffusers layout, read as in the original one: other names, rows in another order.

A whole folder of diffusers, or a U-Net or transformer alone, in one file or in shards. What is made of it has
the original names. Nothing is computed: every tensor is runs of the bytes of others.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from loralathe.families.components import Component, Piece
from loralathe.families.family import FAMILIES, Family
from loralathe.families.vae import piece_of_vae
from loralathe.tensorfiles import (
    Arrangement,
    Header,
    RearrangedFile,
    Run,
    TensorFile,
    TensorInfo,
    open_tensorfile,
    read_config,
)

STARTS = ("transformer.", "unet.")
"""What may stand before the names of the U-Net or transformer."""
WRAPPED = ("", "text_model.", "model.", "model.language_model.", "language_model.")
"""How transformers begins the names of a text encoder, which changes from version to version."""
SEEING = ("", "model.visual.", "visual.")
"""The same for the half of a language model that sees pictures; its folder is that of the other half."""


@dataclass(frozen=True)
class Arranged:
    """What a file in the diffusers layout is in the original one.

    tensors:  key → how it is made;  left_out: parts that are not read;  lost: how many tensors they have
    """

    tensors: Mapping[str, Arrangement]
    left_out: tuple[str, ...] = ()
    lost: int = 0


def in_original_layout(file: TensorFile) -> TensorFile:
    """The file itself, or a view of it if it holds a whole U-Net or transformer in the diffusers layout."""
    tensors = file.header.tensors
    if any(family.signature.matches(tensors) for family in FAMILIES):
        return file
    for family in FAMILIES:
        found = arrangement(family, tensors)
        if found is not None:
            marks = {mark: Arrangement((0,), ()) for mark in _marks(family, file.path)}
            return RearrangedFile(file, {**found.tensors, **marks}, found.left_out, found.lost)
    return file


def original_header(path: str | os.PathLike[str]) -> Header:
    """The header of a checkpoint, in whatever layout it is, as it is in the original one."""
    with open_tensorfile(path) as file:
        return in_original_layout(file).header


def _marks(family: Family, path: Path) -> Iterable[str]:
    """The marks that programs look for in one file, by what a folder's scheduler says.

    As ComfyUI reads them in SDXL models: `v_pred`, and `ztsnr` where the noise ends at no signal.
    """
    if not path.is_dir() or "v" not in family.marks.values():
        return
    config = read_config(path / "scheduler" / "scheduler_config.json")
    if config.get("prediction_type") == "v_prediction":
        yield from (mark for mark, said in family.marks.items() if said == "v")
        if config.get("rescale_betas_zero_snr") is True:
            yield "ztsnr"


def arrangement(family: Family, tensors: Mapping[str, TensorInfo]) -> Arranged | None:
    """How a file becomes one of this family; None for other files than this family's in the other layout.

    Every tensor of the U-Net or transformer must be known. Of the networks beside it, those that are whole
    are taken.
    """
    start = next((one for one in STARTS for key in tensors if key.startswith(one)), "")
    denoiser = family.component("unet")
    own: dict[str, list[tuple[Piece, TensorInfo]]] = defaultdict(list)
    others: dict[str, TensorInfo] = {}
    for key, info in tensors.items():
        if not key.startswith(start):
            others[key] = info
            continue
        piece = denoiser.piece_of_diffusers(key[len(start) :])
        if piece is None:
            return None
        own[piece.key].append((piece, info))
    beside, left = _beside(family, others)
    made = {key: _arranged(found) for key, found in own.items()}
    made |= {key: one for key in beside if (one := _arranged(beside[key])) is not None}
    whole = {key: one for key, one in made.items() if one is not None}
    if len(whole) < len(made) or not family.signature.matches(whole):
        return None
    left += [info.name for key in beside.keys() - whole.keys() for _, info in beside[key]]
    return Arranged(whole, tuple(sorted({name.partition(".")[0] for name in left})), len(left))


def network_of(family: Family, name: str) -> str | None:
    """Id of the network that a tensor of a file in the diffusers layout is in; None for what is in none."""
    folder, _, own = name.partition(".")
    for component in family.components:
        wanted, _, inside = component.folder.partition(".")
        if wanted == folder and (not inside or own.startswith(tuple(start for start in SEEING if start))):
            return component.id
    is_own = f"{folder}." in STARTS or family.component("unet").piece_of_diffusers(name) is not None
    return "unet" if is_own else None


def _beside(
    family: Family, tensors: Mapping[str, TensorInfo]
) -> tuple[dict[str, list[tuple[Piece, TensorInfo]]], list[str]]:
    """Pieces of the networks beside the U-Net or transformer by their key, and names of what is none."""
    found: dict[str, list[tuple[Piece, TensorInfo]]] = defaultdict(list)
    left: list[str] = []
    for name, info in tensors.items():
        piece = _piece(family, name)
        if piece is not None:
            found[piece.key].append((piece, info))
        elif not _is_buffer(family, name):
            left.append(name)
    return found, left


def _piece(family: Family, name: str) -> Piece | None:
    """What a tensor of a network's folder is, `text_encoder.encoder.layers.0…`."""
    folder, _, own = name.partition(".")
    for component in family.components:
        if component.folder.partition(".")[0] != folder:
            continue
        for start in SEEING if component.id == "vision" else WRAPPED:
            for path in _paths(component, own, start):
                piece = piece_of_vae(component, path) if component.id == "vae" else None
                piece = piece or component.piece_of_diffusers(path)
                if piece is not None:
                    return piece
        kept = component.prefix + own
        if keeps_names(component, own) and family.rule_for_key(kept) is not None:
            return Piece(kept, None, "none")
    return family.component("unet").piece_of_diffusers(name)  # a part of it that has a folder of its own


def _paths(component: Component, own: str, start: str) -> Iterable[str]:
    """A name without what may stand before it; with CLIP's inner `text_model.` where that was left out."""
    if start and own.startswith(start):
        yield own[len(start) :]
    elif not start:
        yield own
        yield f"text_model.{own}"


def keeps_names(component: Component, path: str) -> bool:
    """Whether a tensor that is no weight has the same path in both layouts, as its neighbours have."""
    if component.id == "vae":
        return True
    stem = path.rpartition(".")[0]
    near = [entry for entry in component.table.layers if (entry.diffusers or "").startswith(stem)]
    return all(entry.weight.startswith(entry.diffusers or entry.weight) for entry in near)


def _is_buffer(family: Family, name: str) -> bool:
    """Whether a tensor of a network's folder is one that the original layout has no place for."""
    return family.rule_for_key(name) is not None


def _arranged(found: list[tuple[Piece, TensorInfo]]) -> Arrangement | None:
    """One tensor of its pieces; None where one is missing, or the rows do not go together."""
    found = sorted(found, key=lambda one: one[0].number)
    piece, info = found[0]
    shares = piece.shares
    if [one.number for one, _ in found] != list(range(len(shares))):
        return None
    if len(found) == 1:
        return _alone(piece, info)
    alike = {(one.shape[1:], one.dtype, one.stored is None) for _, one in found}
    rows = sum(one.shape[0] for _, one in found if one.shape)
    fair = all(one.shape and one.shape[0] * sum(shares) == rows * shares[part.number] for part, one in found)
    if len(alike) > 1 or not fair or piece.transform != "none":
        return None
    return Arrangement((rows, *info.shape[1:]), tuple(Run(one.name, 0, one.nbytes) for _, one in found))


def _alone(piece: Piece, info: TensorInfo) -> Arrangement:
    whole = (Run(info.name, 0, info.nbytes),)
    if piece.table:
        return Arrangement((prod(info.shape),), whole)
    if piece.transform == "halves_swapped":
        half = info.nbytes // 2
        return Arrangement(info.shape, (Run(info.name, half, info.nbytes), Run(info.name, 0, half)))
    if piece.transform == "transpose" and len(info.shape) == 2:
        return Arrangement(info.shape[::-1], whole, transposed=True)
    square = piece.transform == "conv1x1_to_linear" and len(info.shape) == 2
    return Arrangement((*info.shape, 1, 1) if square else info.shape, whole)
