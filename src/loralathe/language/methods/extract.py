"""extract(delta, …), combine(lora1, lora2, …) and resize(lora, …): adapters made of deltas, docs/loras.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from loralathe.errors import InputError, about
from loralathe.language.expressions import ExtractLeaf, LinearExpression, Term, describe
from loralathe.language.extract_options import DEFAULT_RANK, RULES, Budget, ExtractOptions, Rule
from loralathe.language.function import CallArguments, Function, option, value, values
from loralathe.strengths import Strength, parse_size

Argument = float | str

_CHOOSING = ("energy", "size", *RULES, "full")
_FLAGS = ("exact", "pad_ranks", "keep_noise", "keep_norm", "te1", "te2", "te3", "conv")


def extract(call: CallArguments) -> LinearExpression:
    """The delta at low rank; combine() and resize() do the same to factors."""
    expression = _sum(call.expressions(call.function.parameters[0].name))
    given = call.options()
    unbalanced = bool(given.pop("unbalanced", 0.0))
    if not expression.is_delta and not unbalanced:
        raise call.error(
            f"{call.function.name}() needs a delta; this is {describe(expression)}",
            "subtract the base: extract(B2 - B, rank=64)",
        )
    if call.function.name != "extract" and expression.primary is not None:
        raise call.error(
            f"{call.function.name}() works on factors of adapters; this is a difference of checkpoints",
            "extract(B - A, rank=64) makes an adapter of it",
        )
    try:
        options = read_options(call.function.name, given)
    except InputError as error:
        raise call.error(error.what, error.fix, error.about) from None
    return LinearExpression((Term(ExtractLeaf(expression, options), Strength()),))


def _sum(expressions: Sequence[LinearExpression]) -> LinearExpression:
    return sum(expressions[1:], expressions[0])


def read_options(function: str, given: Mapping[str, Argument]) -> ExtractOptions:
    """Options of a call, from its evaluated arguments; InputError for values that make no sense together."""
    numbers = {key: _number(key, value) for key, value in given.items() if key != "size"}
    chosen = [key for key in _CHOOSING if given.get(key)]
    if len(chosen) > 1:
        raise InputError(
            f"{chosen[0]}= and {chosen[1]}= both choose the ranks", fix="keep one; rank= may stand beside it"
        )
    if function == "resize" and not chosen and "rank" not in given:
        raise InputError("resize() needs the new size", fix="rank=16, energy=0.95, size='20MB' or ratio=0.1")
    rules = {kind: Rule(kind, numbers[kind]) for kind in RULES if kind in numbers}  # type: ignore[arg-type]
    conv_rules = {
        kind: Rule(kind, numbers[f"conv_{kind}"])  # type: ignore[arg-type]
        for kind in RULES
        if f"conv_{kind}" in numbers
    }
    if conv_rules and conv_rules.keys() != rules.keys():
        kind = next(iter(conv_rules))
        raise InputError(f"conv_{kind}= stands beside {kind}= and nothing else", fix=f"add {kind}=")
    joins = function != "extract"
    free = bool(chosen) or joins
    options = ExtractOptions(
        rank=_rank("rank", numbers, None if free else DEFAULT_RANK),
        conv_rank=_rank("conv_rank", numbers, None),
        rule=next(iter(rules.values()), None),
        conv_rule=next(iter(conv_rules.values()), None),
        budget=_budget(given),
        joined=joins and not chosen and "rank" not in given,
        everything=joins,
        min_diff=_at_least_zero("min_diff", numbers),
        **{key: bool(numbers[key]) for key in _FLAGS if key in numbers},  # type: ignore[arg-type]
    )
    _check(options, numbers)
    if numbers.get("full"):
        # Nothing is to be lost, so noise stays, and the decomposition is the exact one.
        return replace(options, keep_noise=True, exact=True)
    return options


def _check(options: ExtractOptions, numbers: Mapping[str, float]) -> None:
    if options.pad_ranks and not options.is_fixed:
        raise InputError(
            "pad_ranks needs one rank for all layers, and here each gets its own", fix="give rank= alone"
        )
    if options.joined and "conv_rank" in numbers:
        raise InputError(
            "conv_rank= stands beside rank=", fix="add rank=, or leave both out for exact factors"
        )
    if numbers.get("full") and "rank" in numbers:
        raise InputError("full= keeps every direction, so rank= has no meaning", fix="keep one of them")


def _budget(given: Mapping[str, Argument]) -> Budget | None:
    for name in ("size", "energy"):
        if name in given:
            with about(name):
                return _size(given["size"]) if name == "size" else Budget(name, _number(name, given[name]))
    return None


def _size(given: Argument) -> Budget:
    return Budget("size", parse_size(given, "size of a file") if isinstance(given, str) else _bytes(given))


def _bytes(value: float) -> int:
    if not (math.isfinite(value) and value >= 1):
        raise InputError(f"size={value:g} is not the size of a file", fix="write size='100MB'")
    return int(value)


def _number(key: str, value: Argument) -> float:
    if isinstance(value, str):
        raise InputError(f"{key}= is a number, not the text '{value}'", about=key)
    return value


def _rank(key: str, numbers: Mapping[str, float], default: int | None) -> int | None:
    if key not in numbers:
        return default
    value = numbers[key]
    if not math.isfinite(value) or value != int(value) or value < 1:
        raise InputError(f"{key} must be a whole number of at least 1, not {value:g}", about=key)
    return int(value)


def _at_least_zero(key: str, numbers: Mapping[str, float]) -> float:
    value = numbers.get(key, 0.0)
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{key} must be a number from 0 up, not {value:g}", about=key)
    return value


_CONV_RULES = tuple(f"conv_{kind}" for kind in RULES)
_RANKS = tuple(
    map(option, ("rank", "conv_rank", "energy", "size", *RULES, *_CONV_RULES, "pad_ranks", "keep_norm"))
)
_MORE = ("full", "conv", "exact", "keep_noise", "te1", "te2", "te3", "min_diff", "unbalanced")
FUNCTIONS = (
    Function("extract", (value("delta"), *_RANKS, *map(option, _MORE)), extract),
    Function("combine", (values("lora"), *_RANKS), extract),
    Function("resize", (value("lora"), *_RANKS), extract),
)
