"""dora(A, lora) and its like: what an adapter changes of the model A, where its kind depends on the weights.

Each such kind of adapter has a function of its name; its mathematics is in the kind's file.
"""

from __future__ import annotations

from dataclasses import replace

from loralathe.adapters import adapter_kinds
from loralathe.language.expressions import AdapterLeaf, LinearExpression, describe
from loralathe.language.function import CallArguments, Function, value


def change(call: CallArguments) -> LinearExpression:
    """A delta; the strengths, blocks and rules of the adapter hold for all of it."""
    name, model, lora = call.function.name, call.expression("A"), call.expression("lora")
    usage = f"{name}(A, 0.7*hina)"
    if not model.is_weights:
        raise call.error(f"{name}() changes a model; its first value is {describe(model)}", f"A + {usage}")
    leaf = lora.terms[0].leaf
    if len(lora.terms) != 1 or not isinstance(leaf, AdapterLeaf) or leaf.weights is not None:
        raise call.error(f"{name}() takes one adapter, with a strength or blocks", usage)
    return LinearExpression((replace(lora.terms[0], leaf=AdapterLeaf(leaf.name, model)),))


FUNCTIONS = tuple(
    Function(kind.id, (value("A"), value("lora")), change) for kind in adapter_kinds().values() if kind.change
)
