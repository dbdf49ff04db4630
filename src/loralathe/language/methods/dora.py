"""What a DoRA changes of a model's weights: their direction by a LoRA, their lengths to those it learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loralathe.language.expressions import AdapterLeaf, LinearExpression, Term, describe, method_expression
from loralathe.language.function import CallArguments, Function, value
from loralathe.language.method import (
    Arguments,
    MakeRows,
    Method,
    ModuleAddress,
    Values,
)
from loralathe.strengths import Strength

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Dora(Method):
    """g·(W + Δ)/‖W + Δ‖ − W of the weights W and the LoRA's delta Δ, ‖·‖ and g by outputs or by inputs.

    Liu et al. 2024, *DoRA: Weight-Decomposed Low-Rank Adaptation*, eq. 5; both axes that LyCORIS has had.
    Where the file has no magnitudes the change is Δ itself.

    adapter: its name among the inputs;  modules: canonical names of those that it has.
    """

    adapter: str
    modules: frozenset[str]

    name = "dora"
    passes = 1
    scratch = 10

    def touches(self, place: ModuleAddress) -> bool:
        return place.name in self.modules

    def prepare(self, tensor: Arguments) -> MakeRows:
        found = tensor.magnitudes(self.adapter)
        if found is None:
            return lambda values, rows: values[1].clone()
        lengths, by_rows = found
        return _by_rows(lengths) if by_rows else _by_columns(lengths / _column_norms(tensor, len(lengths)))


def _by_rows(lengths: Tensor) -> MakeRows:
    def make(values: Values, rows: range) -> Tensor:
        total = values[0] + values[1]
        norms = total.norm(dim=1).clamp_(min=1e-30)
        factors = lengths[rows.start : rows.stop] / norms
        return total.mul_(factors[:, None]).sub_(values[0])

    return make


def _by_columns(factors: Tensor) -> MakeRows:
    def make(values: Values, rows: range) -> Tensor:
        total = (values[0] + values[1]).reshape(len(values[0]), len(factors), -1)
        return total.mul_(factors[:, None]).reshape(values[0].shape).sub_(values[0])

    return make


def _column_norms(tensor: Arguments, inputs: int) -> Tensor:
    """Over all outputs and the kernel, (inputs,), summed in float64."""
    import torch

    squares = torch.zeros(inputs, dtype=torch.float64)
    for weights, delta in tensor.bands():
        total = (weights + delta).double().reshape(len(weights), inputs, -1)
        squares += total.square_().sum((0, 2))
    return squares.sqrt_().clamp_(min=1e-30).float()


def dora(call: CallArguments) -> LinearExpression:
    """A delta; the strengths, blocks and rules of the adapter hold for all of it."""
    (x,), (lora,) = call.expressions("A"), call.expressions("lora")
    if not x.is_weights:
        raise call.error(f"dora() changes a model; its first value is {describe(x)}", "A + dora(A, 0.7*hina)")
    leaf = lora.terms[0].leaf
    if len(lora.terms) != 1 or not isinstance(leaf, AdapterLeaf):
        raise call.error("dora() takes one adapter, with a strength or blocks", "dora(A, 0.7*hina)")
    method = Dora(leaf.name, call.caller.modules_of(leaf.name))
    change = method_expression(method, x, LinearExpression((Term(leaf, Strength()),)))
    return LinearExpression((replace(change.terms[0], strength=lora.terms[0].strength),))


FUNCTIONS = (Function("dora", (value("A"), value("lora")), dora),)
