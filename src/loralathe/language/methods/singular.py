"""LoRAs merged by their singular directions: TSV-M and Iso-C, in the few directions that the LoRAs have.

Gargiulo et al. 2025, "Task Singular Vectors: Reducing Task Interference in Model Merging" (TSV-M): with
xᵢ = Uᵢ·Sᵢ·Vᵢᵀ the directions of all stand side by side, Û = [U₁ … Uₙ] and V̂ likewise, and each of the two is
replaced by the nearest matrix with orthonormal columns (Procrustes: P·Qᵀ of P·D·Qᵀ). The result is
Û⊥·diag(S₁, …, Sₙ)·V̂⊥ᵀ. Here every direction of every LoRA is kept.

Marczak et al. 2025, "No Task Left Behind: Isotropic Model Merging with Common and Task-Specific Subspaces"
(Iso-C): of the sum U·S·Vᵀ all singular values become their mean. A sum of LoRAs has few of them, and the mean
is over those; over all directions of the layer, which are mostly ones that no LoRA has, U and V would be
arbitrary.

Both depend on singular directions alone, so that nothing is lost by working in the small basis that the
LoRAs span (Panariello et al. 2025, "Accurate and Efficient Low-Rank Model Merging in Core Space", arXiv
2509.17786).
TIES looks at single elements: in that basis it would be another method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loralathe.language.expressions import LinearExpression, method_expression
from loralathe.language.function import CallArguments, Function, values
from loralathe.language.method import FactorMethod, Pair
from loralathe.language.methods.project import of_loras

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SingularVectors(FactorMethod):
    """Directions of all LoRAs, made orthogonal to each other."""

    name = "tsv"

    def of_factors(self, arguments: Sequence[Pair | None], *, turned: bool) -> Pair | None:
        import torch

        from loralathe.lowrank import factored_svd

        held = [factored_svd(*pair) for pair in arguments if pair is not None]
        if not held:
            return None
        left = nearest_orthonormal(torch.cat([one.U for one in held], 1))
        right = nearest_orthonormal(torch.cat([one.Vh.T for one in held], 1))
        return left * torch.cat([one.S for one in held]), right.T


@dataclass(frozen=True)
class Isotropic(FactorMethod):
    """The sum, with all its singular values at their mean."""

    name = "iso"

    def of_factors(self, arguments: Sequence[Pair | None], *, turned: bool) -> Pair | None:
        import torch

        from loralathe.lowrank import factored_svd

        held = [pair for pair in arguments if pair is not None]
        if not held:
            return None
        total = factored_svd(torch.cat([up for up, _ in held], 1), torch.cat([down for _, down in held]))
        return (total.U * total.S.mean(), total.Vh) if len(total.S) else None


def nearest_orthonormal(matrix: Tensor) -> Tensor:
    """P·Qᵀ of matrix = P·D·Qᵀ, (m, n); its columns are orthonormal where m ≥ n, else its rows."""
    import torch

    P, _, Qh = torch.linalg.svd(matrix, full_matrices=False)
    nearest: Tensor = P @ Qh
    return nearest


def merged(call: CallArguments) -> LinearExpression:
    method = SingularVectors() if call.function.name == "tsv" else Isotropic()
    return method_expression(method, *of_loras(call, "lora"))


FUNCTIONS = tuple(Function(name, (values("lora"),), merged) for name in ("tsv", "iso"))
