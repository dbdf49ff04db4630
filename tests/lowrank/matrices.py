"""Matrices with known singular values, in float64, for the tests of this room."""

from __future__ import annotations

import torch
from torch import Tensor


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def orthonormal(rows: int, columns: int, seed: int) -> Tensor:
    return torch.linalg.qr(normal(rows, columns, seed=seed)).Q


def with_singular_values(values: Tensor, rows: int, columns: int, seed: int = 0) -> Tensor:
    """U · diag(values) · Vᵀ with random U, V: float64 (rows, columns)."""
    left = orthonormal(rows, len(values), 2 * seed + 1)
    return (left * values.double()) @ orthonormal(columns, len(values), 2 * seed + 2).T


def power_law(rows: int, columns: int, exponent: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A matrix whose i-th singular value is i^-exponent, and those values."""
    values = torch.arange(1, min(rows, columns) + 1, dtype=torch.float64) ** -exponent
    return with_singular_values(values, rows, columns, seed), values
