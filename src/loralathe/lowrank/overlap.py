"""Do two deltas act on the same directions? Comparison of the subspaces that their factors span."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loralathe.lowrank.svd import SVD


@dataclass(frozen=True, slots=True)
class Overlap:
    """Shared part of two deltas' output directions (up) and input directions (down), each in [0, 1]."""

    up: float
    down: float


def subspace_overlap(Q1: Tensor, Q2: Tensor) -> float:
    """‖Q1ᵀ·Q2‖_F² / min(r1, r2) for orthonormal columns (n, r1), (n, r2): 1 contained, 0 orthogonal.

    The mean squared cosine of the principal angles; Hu et al. 2021 (LoRA), §7.2, with r1 = r2. Two random
    subspaces score about max(r1, r2)/n. 0 when either is empty.
    """
    smaller = min(Q1.shape[1], Q2.shape[1])
    if smaller == 0:
        return 0.0
    return min(float((Q1.T.double() @ Q2.double()).square().sum()) / smaller, 1.0)


def principal_angles(Q1: Tensor, Q2: Tensor) -> Tensor:
    """Angles in radians, (min(r1, r2),) rising, between the spans of orthonormal columns (n, r1), (n, r2).

    Cosines lose angles under 1e-8 and sines those near a right angle, so each is used on its own half
    (Björck & Golub 1973; Knyazev & Argentati 2002, Algorithm 3.1).
    """
    wide, thin = (Q1.double(), Q2.double()) if Q1.shape[1] >= Q2.shape[1] else (Q2.double(), Q1.double())
    shared = wide.T @ thin
    cosines = torch.linalg.svdvals(shared).clamp(max=1.0)
    sines = torch.linalg.svdvals(thin - wide @ shared).flip(0).clamp(max=1.0)
    return torch.where(cosines.square() > 0.5, torch.asin(sines), torch.acos(cosines))


def compare_directions(a: SVD, b: SVD) -> Overlap:
    """Overlap of the spans of two decompositions, whatever they came from: dense deltas or factors.

    For a delta of factors use `compress`, for a dense one `randomized_svd`; equal `truncate` ranks ask
    about the leading directions only. Singular values play no part.
    """
    return Overlap(subspace_overlap(a.U, b.U), subspace_overlap(a.Vh.T, b.Vh.T))
