"""From a call in a formula to a form: what each function means, in terms and methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from loralathe.errors import did_you_mean
from loralathe.families import FAMILIES, supported_families
from loralathe.language.expressions import (
    AdapterLeaf,
    LinearExpression,
    MethodLeaf,
    Term,
)
from loralathe.language.functions import SIGNATURES
from loralathe.language.methods.adjust import NAMES, Adjust
from loralathe.language.methods.amounts import Amount
from loralathe.language.methods.call_arguments import (
    CallArguments,
    Caller,
    bind,
    kind_of,
)
from loralathe.language.methods.cosine import Cosine
from loralathe.language.methods.dora import Dora
from loralathe.language.methods.drops import Breadcrumbs, Dare, Della
from loralathe.language.methods.method import Method, Same
from loralathe.language.methods.slerp import Slerp
from loralathe.language.methods.smooth import Smooth
from loralathe.language.methods.ties import Ties
from loralathe.language.methods.train_difference import FACTOR, TrainDifference
from loralathe.language.syntax import Call
from loralathe.strengths import Strength


def call_function(caller: Caller, node: Call) -> LinearExpression:
    """The value of a call of one of `recipes.functions.SIGNATURES`. Raises InputError."""
    signature = SIGNATURES[node.function]
    return BUILDERS[node.function](CallArguments(caller, node, signature, bind(caller, node, signature)))


def weighed(expression: LinearExpression, amount: Amount) -> LinearExpression:
    """amount × a delta, in plain terms; what has block weights already is computed first."""
    if amount.plain is not None:
        return expression.scaled(amount.plain)
    weights = amount.strength
    if any(term.strength.blocks is not None or term.strength.elements for term in expression.terms):
        expression = method_form(Same(), expression)
    return LinearExpression(
        tuple(
            replace(
                term,
                strength=replace(term.strength, blocks=weights.blocks, elements=weights.elements),
            )
            for term in expression.terms
        )
    )


def method_form(method: Method, *arguments: LinearExpression, is_weights: bool = False) -> LinearExpression:
    return LinearExpression((Term(MethodLeaf(method, arguments, is_weights), Strength()),))


def _minus(a: LinearExpression, b: LinearExpression) -> LinearExpression:
    return a + b.scaled(-1.0)


def _between_two(a: LinearExpression, b: LinearExpression, amount: Amount) -> LinearExpression:
    """(1 − amount)·a + amount·b."""
    if amount.plain is not None:
        return a.scaled(1.0 - amount.plain) + b.scaled(amount.plain)
    return a + weighed(_minus(b, a), amount)


def weighted_sum(bound: CallArguments) -> LinearExpression:
    a, b = bound.alike("A", "B")
    return _between_two(a, b, bound.amount_with_elements("alpha"))


def add_difference(bound: CallArguments) -> LinearExpression:
    (a,) = bound.expressions("A")
    b, c = bound.alike("B", "C")
    return a + weighed(_minus(b, c), bound.amount_with_elements("alpha"))


def triple_sum(bound: CallArguments) -> LinearExpression:
    a, b, c = bound.alike("A", "B", "C")
    alpha, beta = bound.amount("alpha"), bound.amount("beta")
    if alpha.plain is not None and beta.plain is not None:
        rest = math.fsum((1.0, -alpha.plain, -beta.plain))
        return a.scaled(rest) + b.scaled(alpha.plain) + c.scaled(beta.plain)
    return a + weighed(_minus(b, a), alpha) + weighed(_minus(c, a), beta)


def sum_twice(bound: CallArguments) -> LinearExpression:
    a, b, c = bound.alike("A", "B", "C")
    alpha, beta = bound.amount("alpha"), bound.amount("beta")
    if alpha.plain is not None and beta.plain is not None:
        return _between_two(_between_two(a, b, alpha), c, beta)
    of_b = alpha.times_rest_of(beta)
    return a + weighed(_minus(b, a), of_b) + weighed(_minus(c, a), beta)


def train_difference(bound: CallArguments) -> LinearExpression:
    a, b, c = bound.alike("A", "B", "C")
    learned = method_form(TrainDifference(), _minus(b, c), _minus(b, a))
    return a + weighed(learned.scaled(FACTOR), bound.amount("alpha"))


def smooth_add(bound: CallArguments) -> LinearExpression:
    (a,) = bound.expressions("A")
    b, c = bound.alike("B", "C")
    return a + weighed(method_form(Smooth(), _minus(b, c)), bound.amount("alpha"))


def cosine(bound: CallArguments) -> LinearExpression:
    a, b = bound.alike("A", "B")
    low, high = bound.number("low"), bound.number("high")
    if not low < high:
        raise bound.error(f"low must be below high, not {low:g} and {high:g}")
    by_columns = bound.node.function == "cosine_a"
    method = Cosine(bound.amount("alpha").strength, by_columns, low, high)
    return method_form(method, a, b, is_weights=a.is_weights)


def slerp(bound: CallArguments) -> LinearExpression:
    a, b = bound.alike("A", "B")
    t = bound.amount("t")
    if t.plain in (0.0, 1.0):
        return a if t.plain == 0.0 else b
    return method_form(Slerp(t.strength), a, b, is_weights=a.is_weights)


def ties(bound: CallArguments) -> LinearExpression:
    """`ties(base, x, …)` gives weights, `ties(delta, …)` a delta; models stand for what they change."""
    first, *others = bound.expressions("x")
    density = bound.between("density", 0.0, 1.0, open_low=True)
    scale = bound.number("scale")
    if first.is_delta and not all(expression.is_delta for expression in others):
        raise bound.error(
            "ties() has models to merge but no base: the first value is a delta",
            "put the base model first: ties(base, x1, x2), or subtract it: ties(x1 - base, x2 - base)",
        )
    deltas = (
        [first, *others]
        if first.is_delta
        else [_task_vector(bound, expression, first) for expression in others]
    )
    if not deltas:
        raise bound.error("ties() has nothing to merge into its base", f"write {bound.signature}")
    merged = method_form(Ties(density), *deltas).scaled(scale)
    return merged if first.is_delta else first + merged


def _task_vector(
    bound: CallArguments, expression: LinearExpression, base: LinearExpression
) -> LinearExpression:
    if expression.is_delta:
        return expression
    if expression.is_weights and base.is_weights:
        return _minus(expression, base)
    raise bound.error(
        f"ties() takes models and deltas; this is {kind_of(expression if base.is_weights else base)}"
    )


def dare(bound: CallArguments) -> LinearExpression:
    delta, p = bound.delta("delta"), bound.between("p", 0.0, 1.0, open_high=True)
    return delta if p == 0.0 else method_form(Dare(p, bound.whole("seed")), delta)


def della(bound: CallArguments) -> LinearExpression:
    delta, p = bound.delta("delta"), bound.between("p", 0.0, 1.0, open_high=True)
    epsilon = bound.between("epsilon", 0.0, 1.0)
    if p - epsilon / 2 < 0.0 or p + epsilon / 2 >= 1.0:
        raise bound.error(
            f"p ± epsilon/2 must stay between 0 and 1; {p:g} ± {epsilon / 2:g} does not",
            f"epsilon can be at most {2 * min(p, 1.0 - p):g} here",
        )
    return method_form(Della(p, epsilon, bound.whole("seed")), delta)


def breadcrumbs(bound: CallArguments) -> LinearExpression:
    delta = bound.delta("delta")
    top, bottom = bound.between("top", 0.0, 1.0), bound.between("bottom", 0.0, 1.0)
    if top + bottom >= 1.0:
        raise bound.error(f"top and bottom leave nothing: {top:g} + {bottom:g} is 1 or more")
    return method_form(Breadcrumbs(top, bottom), delta)


def dora(bound: CallArguments) -> LinearExpression:
    """A delta; the strengths, blocks and rules of the adapter hold for all of it."""
    (x,), (lora,) = bound.expressions("A"), bound.expressions("lora")
    if not x.is_weights:
        raise bound.error(f"dora() changes a model; its first value is {kind_of(x)}", "A + dora(A, 0.7*hina)")
    leaf = lora.terms[0].leaf
    if len(lora.terms) != 1 or not isinstance(leaf, AdapterLeaf):
        raise bound.error("dora() takes one adapter, with a strength or blocks", "dora(A, 0.7*hina)")
    method = Dora(leaf.name, bound.caller.modules_of(leaf.name))
    change = method_form(method, x, LinearExpression((Term(leaf, Strength()),)))
    return LinearExpression((replace(change.terms[0], strength=lora.terms[0].strength),))


def adjust(bound: CallArguments) -> LinearExpression:
    (x,) = bound.expressions("x")
    if not x.is_weights:
        raise bound.error(f"adjust() works on a model; this is {kind_of(x)}", "adjust(A + 0.7*lora, 'BRI=1')")
    family = bound.caller.family()
    if family.colours is None:
        known = supported_families([other for other in FAMILIES if other.colours])
        raise bound.error(f"adjust() is defined for {known} models, not for {family.label}")
    settings = _settings(bound, bound.text("settings") or "")
    return x + method_form(Adjust(settings, family.colours), x)


def _settings(bound: CallArguments, text: str) -> tuple[float, ...]:
    """`0,0,0,0,1` (up to eight numbers in SuperMerger's order) or `BRI=1,COL1=-0.5`."""
    found = dict.fromkeys(NAMES, 0.0)
    items = [item.strip() for item in text.split(",")]
    if len(items) > len(NAMES):
        raise bound.error(f"adjust() has {len(NAMES)} settings, not {len(items)}", ",".join(NAMES))
    for place, item in zip(NAMES, items, strict=False):
        name, equals, number = item.rpartition("=")
        name = name.strip().upper() if equals else place
        if name not in found:
            raise bound.error(
                f"adjust() has no setting '{name}'", did_you_mean(name, NAMES) or ",".join(NAMES)
            )
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = math.nan
        if not math.isfinite(found[name]):
            raise bound.error(f"'{number}' is no number for {name}", "adjust(x, 'IN=1,BRI=0.5')")
    return tuple(found.values())


BUILDERS: Mapping[str, Callable[[CallArguments], LinearExpression]] = {
    "weighted_sum": weighted_sum,
    "add_difference": add_difference,
    "triple_sum": triple_sum,
    "sum_twice": sum_twice,
    "train_difference": train_difference,
    "smooth_add": smooth_add,
    "cosine_a": cosine,
    "cosine_b": cosine,
    "adjust": adjust,
    "slerp": slerp,
    "ties": ties,
    "dare": dare,
    "della": della,
    "breadcrumbs": breadcrumbs,
    "dora": dora,
}
