"""Options that choose ranks, under our names and under those of kohya's and LyCORIS' extractors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from loralathe import InputError
from loralathe.cli.options import Number, Whole, stack

F = TypeVar("F", bound=Callable[..., object])

RULES = ("threshold", "ratio", "quantile", "fro")
MODES = ("fixed", "threshold", "ratio", "quantile", "fro", "full")
KOHYA_METHODS = {"sv_ratio": "ratio", "sv_fro": "fro", "sv_cumulative": "quantile"}
LEFT_OUT = {
    "--clamp-quantile": "clipping the largest numbers only adds error; nothing is clamped",
    "--use-sparse-bias": "no program reads the sparse residual that LyCORIS writes",
    "--disable-cp": "convolutions are written as two factors, the form that --disable-cp asks for",
}
"""Options of other extractors that people may type, and why they are left out here."""

_HELP = {
    "threshold": "Keep singular values above X.",
    "ratio": "Keep singular values above X times the layer's largest.",
    "quantile": "Keep the fewest singular values that add up to the fraction X of all.",
    "fro": "Keep the fewest singular values with at least X of the layer's norm.",
}


def _refuse(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value:
        name = param.opts[0]
        raise InputError(f"{name} is left out on purpose", where=name, fix=LEFT_OUT[name])


def rank_options(rank: str, conv: str) -> Callable[[F], F]:
    """--rank, budgets, modes. rank, conv: what --rank and --conv-rank mean to the command."""
    options: list[Callable[[F], F]] = [
        click.option(
            "--rank", "--dim", "--linear-dim", "rank", type=Whole(min=1), metavar="N",
            help=rank,
        ),
        click.option(
            "--conv-rank", "--conv-dim", "conv_rank", type=Whole(min=1), metavar="N",
            help=conv,
        ),
        click.option(
            "--energy", type=Number(), metavar="E",
            help="Write the smallest file that keeps the fraction E of what changed, such as 0.95.",
        ),
        click.option(
            "--size", metavar="SIZE", help="Keep as much as fits into a file of SIZE, such as 100MB."
        ),
        click.option(
            "--mode", type=click.Choice(MODES), metavar="NAME",
            help=f"How the rank of each layer is chosen: {', '.join(MODES[:-1])} or {MODES[-1]}.",
        ),
    ]  # fmt: skip
    for kind in RULES:
        for part in ("linear", "conv"):
            text = _HELP[kind] if part == "linear" else "The same for 3×3 convolutions."
            options.append(
                click.option(f"--{part}-{kind}", f"{part}_{kind}", type=Number(), metavar="X", help=text)
            )
    options += [
        click.option(
            "--dynamic-method",
            type=click.Choice(tuple(KOHYA_METHODS)),
            metavar="NAME",
            help="The same as --mode, in kohya's words: sv_ratio, sv_fro or sv_cumulative.",
        ),
        click.option(
            "--dynamic-param", type=Number(), metavar="P", help="The parameter of --dynamic-method."
        ),
        click.option(
            "--pad-ranks",
            is_flag=True,
            help="Give all layers one rank: diffusers 0.32 misreads files of several ranks, "
            "sd-scripts' sdxl_merge_lora refuses them.",
        ),
    ]
    options.append(
        click.option(
            "--keep-norm",
            is_flag=True,
            help="Make each layer's factors as long as all of its difference: at a low rank a LoRA acts too "
            "weakly.",
        )
    )
    for name in LEFT_OUT:
        options.append(
            click.option(
                name, is_flag=False, flag_value="1", hidden=True, expose_value=False, callback=_refuse
            )
        )

    return stack(options)


RANK_NAMES = (
    "rank", "conv_rank", "energy", "size", "mode", "dynamic_method", "dynamic_param", "pad_ranks",
    "keep_norm",
    *(f"{part}_{kind}" for kind in RULES for part in ("linear", "conv")),
)  # fmt: skip


def take_ranks(options: dict[str, Any]) -> dict[str, float | str]:
    """Takes the rank options out of `options`: arguments of extract(), combine() and resize() by name.

    Raises InputError for a mode without its parameter, and for parameters of another mode.
    """
    given: dict[str, Any] = {name: options.pop(name) for name in RANK_NAMES}
    found = {key: given[key] for key in ("rank", "conv_rank", "energy", "size") if given[key] is not None}
    rules = {kind: given[f"linear_{kind}"] for kind in RULES if given[f"linear_{kind}"] is not None}
    rules |= _kohya_rule(given["dynamic_method"], given["dynamic_param"])
    conv = {f"conv_{kind}": given[f"conv_{kind}"] for kind in RULES if given[f"conv_{kind}"] is not None}
    _check_mode(given["mode"], rules)
    if given["mode"] == "full":
        found["full"] = 1
    if given["pad_ranks"]:
        found["pad_ranks"] = 1
    if given["keep_norm"]:
        found["keep_norm"] = 1
    return {**found, **rules, **conv}


def _check_mode(mode: str | None, rules: Mapping[str, float]) -> None:
    if mode in RULES and mode not in rules:
        raise InputError(f"--mode {mode} needs its number", fix=f"add --linear-{mode} X")
    others = [kind for kind in rules if kind != mode]
    if mode is not None and others:
        raise InputError(f"--mode {mode} and --linear-{others[0]} do not go together", fix="keep one of them")


def _kohya_rule(method: str | None, parameter: float | None) -> dict[str, float]:
    if method is None and parameter is None:
        return {}
    if method is None or parameter is None or parameter <= 0:
        raise InputError(
            "--dynamic-method and --dynamic-param stand together, the parameter above 0",
            fix="--dynamic-method sv_fro --dynamic-param 0.9",
        )
    kind = KOHYA_METHODS[method]
    if kind == "ratio" and parameter < 1:
        raise InputError(
            f"sv_ratio {parameter:g} keeps nothing", fix="sv_ratio is a number from 1 up, such as 10"
        )
    return {kind: 1 / parameter if kind == "ratio" else parameter}
