"""How far the checkpoints of a sum are apart, and whether the sum goes too far beyond them.

A sum of models works between models that share a parent: every mix of them draws. It goes beyond them where
a model is subtracted, and breaks the sooner, the less the models share (docs/semantics.md §8). Checkpoints
that are near each other count as one: in B1 + M*(B − A), B1 is B with something small added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from loralathe.engine.outputs import AdapterOutput, Output
from loralathe.engine.provenance import base_remarks
from loralathe.engine.remarks import FAR, MOST_BEYOND, UNRELATED, Remark, remark
from loralathe.engine.session import Session
from loralathe.engine.sources import CheckpointSource
from loralathe.families import FACTORED
from loralathe.language import CheckpointLeaf, LinearExpression
from loralathe.rounded import fixed
from loralathe.tensorfiles import to_torch_dtype

SAMPLE = 1 << 23
"""Numbers of each checkpoint that are looked at, about."""


@dataclass(frozen=True)
class Group:
    """Checkpoints near each other, and how much of them is in the sum."""

    names: tuple[str, ...]
    amount: float


def remarks_on_inputs(session: Session, output: Output, hashes: Mapping[str, str]) -> tuple[Remark, ...]:
    """Sentences about the models that an output is made of. hashes: of inputs, by name."""
    if isinstance(output, AdapterOutput):
        return tuple(base_remarks(session, output, hashes))
    return kinship_remarks(output.expression, session.sources.checkpoints, session.recipe.variables)


def kinship_remarks(
    expression: LinearExpression, sources: Mapping[str, CheckpointSource], variables: Mapping[str, float]
) -> tuple[Remark, ...]:
    """Sentences about the checkpoints that a sum is made of; none where they share enough."""
    amounts: dict[str, float] = {}
    for term in expression.terms:
        if isinstance(term.leaf, CheckpointLeaf):
            amounts[term.leaf.name] = amounts.get(term.leaf.name, 0.0) + term.strength.unet
    used = {name: amount for name, amount in amounts.items() if amount != 0.0}
    if len(used) < 2 or not math.isclose(math.fsum(used.values()), 1.0, abs_tol=1e-6):
        return ()
    apart = distances([sources[name] for name in used])
    return tuple(_remarks(_groups(used, apart), apart, variables))


def distances(held: Sequence[CheckpointSource]) -> dict[frozenset[str], float]:
    """‖X − Y‖ relative to the larger, for each two, over the layers that differ and a LoRA could change.

    The middle of each layer stands for all of it.
    """
    apart: dict[frozenset[str], list[float]] = {
        frozenset((one.name, other.name)): [] for one, other in combinations(held, 2)
    }
    norms: dict[tuple[frozenset[str], str], list[float]] = {
        (pair, name): [] for pair in apart for name in pair
    }
    keys = _shared(held)
    for key in keys:
        weights = {one.name: _middle(one, key, SAMPLE // len(keys)) for one in held}
        squares = {name: _square(weight) for name, weight in weights.items()}
        for pair, found in apart.items():
            x, y = (weights[name] for name in pair)
            share = held[0].tensors[key].numel / x.numel()
            if difference := _square(x - y):
                found.append(share * difference)
                for name in pair:
                    norms[pair, name].append(share * squares[name])
    return {pair: _relative(found, [norms[pair, name] for name in pair]) for pair, found in apart.items()}


def _relative(differences: Iterable[float], norms: Iterable[Iterable[float]]) -> float:
    largest = max(map(math.fsum, norms))
    return math.sqrt(math.fsum(differences) / largest) if largest > 0 else 0.0


def _shared(held: Sequence[CheckpointSource]) -> list[str]:
    """Layers that all have."""
    first = held[0]
    keys = {module.key for module in first.modules.values() if module.scope in FACTORED}
    return [
        key
        for key in sorted(keys)
        if first.tensors[key].numel
        and all(key in one.tensors and one.tensors[key].shape == first.tensors[key].shape for one in held)
    ]


def _middle(source: CheckpointSource, key: str, count: int) -> torch.Tensor:
    """So many numbers from the middle of a layer, or all; a part of each layer takes little memory."""
    info = source.tensors[key]
    size, count = info.nbytes // info.numel, min(count, info.numel)
    raw = torch.empty(count * size, dtype=torch.uint8)
    source.file.readinto(info, raw.numpy().data, (info.numel - count) // 2 * size)
    return raw.view(to_torch_dtype(info.dtype)).float()


def _square(values: torch.Tensor) -> float:
    return float(values.square().sum(dtype=torch.float64))


def _groups(amounts: Mapping[str, float], apart: Mapping[frozenset[str], float]) -> list[Group]:
    groups: list[list[str]] = []
    for name in amounts:
        near = [group for group in groups if any(apart[frozenset((name, one))] < FAR for one in group)]
        joined = [*(one for group in near for one in group), name]
        groups = [*(group for group in groups if group not in near), joined]
    return [Group(tuple(group), math.fsum(amounts[name] for name in group)) for group in groups]


def _remarks(
    groups: Sequence[Group], apart: Mapping[frozenset[str], float], variables: Mapping[str, float]
) -> Iterator[Remark]:
    largest = max(groups, key=lambda group: group.amount)
    for group in groups:
        if group is largest:
            continue
        names, distance = _nearest(group.names, largest.names, apart)
        share = f"{names[0]} and {names[1]} differ by {fixed(100 * distance, 0)} %"
        beyond = -group.amount
        if distance >= UNRELATED:
            yield remark(
                "unrelated",
                f"these models are unrelated ({share}): no sum of them draws pictures",
                distance=distance,
            )
        elif beyond * distance > MOST_BEYOND:
            most = MOST_BEYOND / distance
            limit = _limit(beyond, most, variables) or f"subtracting more than {most:.1g} of {names[0]}"
            yield remark(
                "share little",
                f"these bases share little ({share}): {limit} will break pictures",
                distance=distance,
                beyond=beyond,
                most=most,
            )


def _nearest(
    names: Iterable[str], others: Sequence[str], apart: Mapping[frozenset[str], float]
) -> tuple[tuple[str, str], float]:
    found = {(one, other): apart[frozenset((one, other))] for one in names for other in others}
    pair = min(found, key=lambda names: found[names])
    return pair, found[pair]


def _limit(beyond: float, most: float, variables: Mapping[str, float]) -> str | None:
    """The bound of the variable that says how much is subtracted: its value, or what it has over 1."""
    shown = float(f"{most:.1g}")
    for name, value in variables.items():
        for start in (0.0, 1.0):
            if math.isclose(beyond, value - start, abs_tol=1e-9):
                return f"{name} above {start + shown:g}"
            if math.isclose(beyond, -value - start, abs_tol=1e-9):
                return f"{name} below {-start - shown:g}"
    return None
