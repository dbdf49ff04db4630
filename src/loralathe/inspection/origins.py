"""Which block of one base came from which of another, found in the weights.

Bases are made deeper by repeating blocks and training on: 28 blocks become 40. A LoRA of the one fits the
other once it is known which block came from which. Two weights of the same origin point the same way, those
of strangers at right angles (cosine 0 ± 1/√n in n numbers), so a sample of each matrix is enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loralathe.engine import tensors_by_name
from loralathe.families import Family, detect_checkpoint
from loralathe.inspection.norms import is_computable, read_flat
from loralathe.progress import Progress
from loralathe.tensorfiles import TensorFile, TensorInfo

SAMPLE = 1 << 16
"""Numbers read of a matrix: strangers then have cosines of 0.004."""
STRIPS = 16
"""Places of a matrix that they are read at: q, k and v may lie in one."""
RELATED = 0.5
"""Cosine from which two weights are of one origin: fine-tunes of a base stay above 0.9, strangers near 0."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a block of the second base came from.

    number:  of the block in the second base;  source: in the first, None where nothing there is like it
    cosine:  of their weights, the mean over the matrices;  next: that of the next best
    """

    number: int
    source: int | None
    cosine: float
    next: float


@dataclass(frozen=True)
class Stack:
    """Equal blocks in a row.

    path:    of its blocks, with `#` for their number: 'unet.blocks.#'
    depths:  blocks of the first and of the second base
    origins: of every block of the second, in order
    layers:  path of a matrix → cosine of each block of the second with its origin's, None where one lacks it
    """

    path: str
    depths: tuple[int, int]
    origins: tuple[Origin, ...]
    layers: Mapping[str, tuple[float | None, ...]]

    @property
    def moves(self) -> bool:
        """Whether some block of the second base is not simply the one of the same number."""
        return any(origin.number != origin.source for origin in self.origins if origin.source is not None)

    @property
    def cosine(self) -> float:
        return math.fsum(origin.cosine for origin in self.origins) / len(self.origins)


def block_origins(files: tuple[TensorFile, TensorFile], progress: Progress) -> tuple[Stack, ...]:
    """The stacks that both bases have, in the order of the second's file; only samples are read."""
    matrices = [_matrices(file) for file in files]
    paths = [path for path in matrices[1] if path in matrices[0]]
    stacks: dict[str, list[str]] = {}
    for path in paths:
        stacks.setdefault(stack_of(path), []).append(path)
    found = []
    with progress.task("comparing blocks", len(paths), "layers") as task:
        for name, inside in stacks.items():
            cosines = {}
            for path in inside:
                cosines[path] = _cosines(files, matrices[0][path], matrices[1][path])
                task.advance(1)
            found.append(_stack(name, cosines))
    return tuple(found)


def stack_of(path: str) -> str:
    """`unet.blocks.#.attn.qkv.weight` → 'unet.blocks.#'."""
    return path[: path.index("#") + 1]


def _matrices(file: TensorFile) -> dict[str, dict[int, TensorInfo]]:
    """Path with `#` → number → tensor, of the matrices in a row that adapters can change."""
    family = detect_checkpoint(file.header, str(file.path)).family
    found: dict[str, dict[int, TensorInfo]] = {}
    for key, info in tensors_by_name(file, family).items():
        numbered = family.numbered_key(key)
        if numbered and len(info.shape) > 1 and is_computable(info) and _takes_adapters(family, key):
            found.setdefault(numbered[0], {})[numbered[1]] = info
    return found


def _takes_adapters(family: Family, key: str) -> bool:
    component = family.component_of_key(key)
    return component is not None and bool(family.component(component).kohya)


def _cosines(
    files: tuple[TensorFile, TensorFile], one: Mapping[int, TensorInfo], other: Mapping[int, TensorInfo]
) -> Tensor:
    """Cosine of every layer of the first base with every one of the second; NaN where the shapes differ."""
    x, y = (_samples(file, infos) for file, infos in zip(files, (one, other), strict=True))
    found = torch.full((max(one) + 1, max(other) + 1), math.nan)
    for shape in x.keys() & y.keys():
        (rows, left), (columns, right) = x[shape], y[shape]
        found[torch.tensor(rows)[:, None], torch.tensor(columns)] = left @ right.T
    return found


def _samples(
    file: TensorFile, infos: Mapping[int, TensorInfo]
) -> dict[tuple[int, ...], tuple[list[int], Tensor]]:
    """Shape → numbers of the layers, and a row for each: some of its weights, at length 1."""
    grouped: dict[tuple[int, ...], list[int]] = {}
    for number, info in infos.items():
        grouped.setdefault(info.shape, []).append(number)
    return {
        shape: (numbers, torch.stack([_sample(file, infos[number]) for number in numbers]))
        for shape, numbers in grouped.items()
    }


def _sample(file: TensorFile, info: TensorInfo) -> Tensor:
    if info.numel <= SAMPLE:
        values = read_flat(file, info, 0, info.numel)
    else:
        size = SAMPLE // STRIPS
        starts = [i * (info.numel - size) // (STRIPS - 1) for i in range(STRIPS)]
        values = torch.cat([read_flat(file, info, start, start + size) for start in starts])
    length = float(values.norm())
    return values / length if 0 < length < math.inf else torch.zeros_like(values)


def _stack(name: str, cosines: Mapping[str, Tensor]) -> Stack:
    """The stack with the best origin of every block, those of its own matrices weighing the same."""
    depths = tuple(max(one.shape[axis] for one in cosines.values()) for axis in (0, 1))
    padded = torch.stack([_padded(one, depths) for one in cosines.values()])
    scores = padded.nanmean(0).nan_to_num(-1.0)
    sources = monotone_assignment(scores.tolist())
    origins = []
    for number, source in enumerate(sources):
        column = scores[:, number].clone()
        cosine = float(column[source])
        column[source] = -1.0
        best = float(column.max()) if len(column) > 1 else 0.0
        origins.append(Origin(number, source if cosine >= RELATED else None, cosine, best))
    layers = {
        path: tuple(_number(one[source, number]) for number, source in enumerate(sources))
        for path, one in zip(cosines, padded, strict=True)
    }
    return Stack(name, (depths[0], depths[1]), tuple(origins), layers)


def _padded(scores: Tensor, depths: Sequence[int]) -> Tensor:
    full = torch.full(tuple(depths), math.nan)
    full[: scores.shape[0], : scores.shape[1]] = scores
    return full


def _number(value: Tensor) -> float | None:
    return None if math.isnan(float(value)) else float(value)


def monotone_assignment(scores: Sequence[Sequence[float]]) -> list[int]:
    """Row for every column, never going back, with the largest sum of scores; of equal ones the lowest rows.

    scores: (rows, columns). Dynamic programming over columns, as in alignments of sequences without gaps.
    """
    rows, columns = len(scores), len(scores[0])
    best = [scores[row][0] for row in range(rows)]
    came: list[list[int]] = []
    for column in range(1, columns):
        before, top = [], 0
        for row in range(rows):  # the best of this row and of those above
            top = row if best[row] > best[top] else top
            before.append(top)
        came.append(before)
        best = [best[before[row]] + scores[row][column] for row in range(rows)]
    row = max(range(rows), key=best.__getitem__)
    found = [row]
    for before in reversed(came):
        row = before[row]
        found.append(row)
    return found[::-1]
