"""SuperMerger's cosineA and cosineB: what a column gets of each model follows from their likeness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loralathe.language.expressions import LinearExpression, method_expression
from loralathe.language.function import CallArguments, Function, amount, number, value
from loralathe.language.method import Arguments, MakeRows, Method, Values, amount_at
from loralathe.strengths import Strength

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Cosine(Method):
    """k·A + (1 − k)·B with k = clip((c − low)/(high − low) − α, 0, 1), column by column.

    c is the mean of two cosines: of the column's, over the rows, and of the whole tensor's.
    by_columns: the whole tensor's cosine after the columns are normalised (cosineA), else plain (cosineB).
    low, high:  likeness that counts as none and as full. SuperMerger takes the 1st and 99th percentile
                over the whole model instead.
    """

    alpha: Strength
    by_columns: bool
    low: float
    high: float

    passes = 1
    scratch = 12

    @property
    def name(self) -> str:  # type: ignore[override]
        return "cosine_a" if self.by_columns else "cosine_b"

    @property
    def amounts(self) -> tuple[Strength, ...]:
        return (self.alpha,)

    def prepare(self, tensor: Arguments) -> MakeRows:
        likeness = column_likeness(tensor, self.by_columns)
        scaled = (likeness - self.low) / (self.high - self.low)
        of_a = (scaled - amount_at(self.alpha, tensor.address)).clamp(0.0, 1.0).float()

        def make(values: Values, rows: range) -> Tensor:
            # Not B + k·(A − B): at k = 1 the result must be A to the last bit.
            return values[0] * of_a + values[1] * (1.0 - of_a)

        return make


def column_likeness(tensor: Arguments, by_columns: bool) -> Tensor:
    """c of every column, fp64 (columns,): (cosine of the column + cosine of the whole) / 2.

    Columns of zeros on both sides are alike, a zero column is unlike any other. The cosine of tensors with
    normalised columns is the mean of the columns' cosines: no second pass is needed for it.
    """
    import torch

    sums = torch.zeros(3, 1, dtype=torch.float64)
    for a, b in tensor.bands():
        x, y = a.double(), b.double()
        sums = sums + torch.stack([(x * x).sum(0), (y * y).sum(0), (x * y).sum(0)])
    columns = _cosine(*sums)
    whole = columns.mean() if by_columns else _cosine(*sums.sum(1))
    return (columns + whole) / 2


def _cosine(aa: Tensor, bb: Tensor, ab: Tensor) -> Tensor:
    import torch

    length = (aa * bb).sqrt()
    alike = ((aa == 0.0) & (bb == 0.0)).double()
    return torch.where(length > 0.0, ab / length, alike).clamp(-1.0, 1.0)


def cosine(call: CallArguments) -> LinearExpression:
    a, b = call.alike("A", "B")
    low, high = call.number("low"), call.number("high")
    if not low < high:
        raise call.error(f"low must be below high, not {low:g} and {high:g}")
    by_columns = call.function.name == "cosine_a"
    method = Cosine(call.amount("alpha").strength, by_columns, low, high)
    return method_expression(method, a, b, is_weights=a.is_weights)


_PARAMETERS = (value("A"), value("B"), amount("alpha"), number("low", 0.0), number("high", 1.0))
FUNCTIONS = tuple(Function(name, _PARAMETERS, cosine) for name in ("cosine_a", "cosine_b"))
