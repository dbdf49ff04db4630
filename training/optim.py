"""Muon for matrices and kernels, AdamW for the rest; and an average of the weights.

Muon (Jordan 2024): momentum whose matrix is replaced by its nearest semi-orthogonal matrix, computed by
five Newton-Schulz steps; here scaled to the size of an Adam update, 0.2 * sqrt(max(rows, columns)) (Liu et
al. 2025, section 2.2). On a few thousand small steps it needs about half the steps that AdamW does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The semi-orthogonal matrix nearest to `matrix` (rows, columns), singular values within about 0.7..1.2.

    Every iterate is (a small square matrix) @ matrix, so the iteration runs on the smaller side only: for a
    kernel of 128 x 1152 that is two large products instead of ten.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    eye = torch.eye(len(gram), dtype=gram.dtype)
    product: torch.Tensor = eye
    for _ in range(steps):
        factor = a * eye + b * gram + c * gram @ gram
        product = factor @ product
        gram = factor @ gram @ factor
    nearest: torch.Tensor = product @ x
    return nearest.T if tall else nearest


class Muon(torch.optim.Optimizer):
    """For parameters of two or more dimensions; kernels count as (out, in * height * width)."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                momentum: torch.Tensor = state["momentum"]
                momentum.lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(momentum, group["momentum"]).flatten(1)
                scale = 0.2 * max(update.shape) ** 0.5
                p.add_(orthogonalise(update).view_as(p), alpha=-group["lr"] * scale)


class Mixed:
    """Muon for the inner matrices of `modules`, AdamW for vectors, embeddings and the layers in `outer`."""

    def __init__(
        self, modules: Iterable[nn.Module], muon: float, adam: float, outer: tuple[str, ...] = ()
    ) -> None:
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for module in modules:
            for name, p in module.named_parameters():
                inner = p.ndim >= 2 and "embedding" not in name and not name.startswith(outer or ("\0",))
                (matrices if inner else rest).append(p)
        self.parameters = matrices + rest
        self._parts = (
            (Muon(matrices, muon), muon),
            (torch.optim.AdamW(rest, adam, betas=(0.9, 0.98), weight_decay=0.0), adam),
        )

    def step(self, factor: float, clip: float = 1.0) -> None:
        """One update at `factor` times the base rates, then gradients are dropped."""
        nn.utils.clip_grad_norm_(self.parameters, clip)
        for optimizer, rate in self._parts:
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Both optimizers' states."""
        return {str(i): optimizer.state_dict() for i, (optimizer, _) in enumerate(self._parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes what `state_dict` gave."""
        for i, (optimizer, _) in enumerate(self._parts):
            optimizer.load_state_dict(state[str(i)])


class Average:
    """Exponential moving average of a module's weights; early steps count less, so it is usable at once."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, n: int) -> None:
        """Moves towards the module's weights after step n."""
        decay = min(self.decay, (n + 1) / (n + 10))
        for name, p in module.state_dict().items():
            self.weights[name].lerp_(p, 1 - decay)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averaged weights, loadable into the module."""
        return self.weights

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Takes what `state_dict` gave."""
        self.weights = state
