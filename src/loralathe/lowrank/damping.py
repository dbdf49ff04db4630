"""A LoRA's response to inputs that it should leave alone, taken out in closed form.

For a layer with the difference Δ and inputs x: those of pictures that should stay (+) and of pictures that
should be as without the LoRA (−),

    Δ' = argmin  E₊‖Δ'x − Δx‖² + λ·E₋‖Δ'x‖² + ε·‖Δ' − Δ‖²  =  Δ·P,
    P  = (C₊ + εI)·(C₊ + λC₋ + εI)⁻¹,          C = E[x·xᵀ],

a ridge regression with a target, solved by its normal equations. P acts on the inputs alone, so with
Δ = up·down it is up·(down·P): the same rank, the same `up`. In directions that no x has, Δ stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

HELD = 1e-4
"""ε as a share of the mean of C₊'s diagonal."""


@dataclass(frozen=True, eq=False)
class Moment:
    """Second moment of some inputs, not centred. total: Σ x·xᵀ, (in, in);  count: how many x."""

    total: Tensor
    count: int

    @property
    def mean(self) -> Tensor:
        """E[x·xᵀ], (in, in) in float64; zeros where there is no x."""
        return self.total.double() / max(self.count, 1)

    def __add__(self, other: Moment) -> Moment:
        return Moment(self.total + other.total, self.count + other.count)


@dataclass(frozen=True, eq=False)
class Damping:
    """P of some inputs, (in, in); itself it is never made. own: C₊ + εI;  root: Cholesky's of the sum, None
    where nothing is damped.
    """

    own: Tensor
    root: Tensor | None

    @classmethod
    def of(cls, kept: Moment, unwanted: Moment, amount: float, held: float = HELD) -> Damping:
        """amount: λ, 0 damps nothing. ValueError below 0."""
        if amount < 0:
            raise ValueError(f"a damping of {amount:g}")
        wanted = kept.mean
        scale = float(wanted.diagonal().mean())
        own = wanted + held * scale * torch.eye(wanted.shape[0], dtype=torch.float64)
        if amount == 0 or scale <= 0:
            return cls(own, None)
        return cls(own, _root(own + amount * unwanted.mean))

    def __call__(self, down: Tensor) -> Tensor:
        """down·P, (r, in) in float64."""
        if self.root is None:
            return down.double()
        return torch.cholesky_solve((down.double() @ self.own).T, self.root).T.contiguous()


def _root(matrix: Tensor) -> Tensor:
    """The Cholesky factor of a matrix that sums in fp32 may have left with eigenvalues just below 0."""
    scale, raised = matrix.diagonal().mean(), 0.0
    while True:
        unit = torch.eye(matrix.shape[0], dtype=matrix.dtype)
        found: tuple[Tensor, Tensor] = torch.linalg.cholesky_ex(matrix + raised * scale * unit)
        if not bool(found[1]):
            return found[0]
        raised = max(1e-7, 4 * raised)


def response(up: Tensor, down: Tensor, moment: Moment) -> float:
    """E‖up·down·x‖² in float64; up (out, r), down (r, in)."""
    inner = down.double() @ moment.mean @ down.double().T
    return max(0.0, float(((up.double().T @ up.double()) * inner).sum()))
