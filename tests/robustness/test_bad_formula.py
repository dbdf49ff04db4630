"""Formulas, block lists, ranks and strengths that make no sense: the exact message, and no byte written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loralathe.engine import RunOptions, run_recipe
from loralathe.errors import InputError, MachineError
from loralathe.language import parse_expression
from robustness.workdir import MERGE, Says, recipe_in, refused, run_in

STEP = "recipe, step 'out'"
ALLOWED = "allowed: + - * @ ( ), numbers, names, quoted block lists, calls such as extract(x, rank=64)"
ONE_MODEL = "weights must add up to one model: 0.5*A + 0.5*B, or A + (B - C)"
DELTA = "a delta becomes an adapter with extract(…, rank=64), or weights when added to a checkpoint"
LISTS = "17: BASE IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03…OUT11; 26: BASE IN00…IN11 MID OUT00…OUT11"
SEVENTEEN = ",".join(["1"] * 17)


def at(column: int, formula: str) -> str:
    return f"{STEP}, character {column}\n    {formula}\n    {' ' * (column - 1)}^"


TYPES: dict[str, Says] = {
    "A + B": ("'out' is to be saved, but it is 2 models' worth of weights", "step 'out'", ONE_MODEL),
    "2*A": ("'out' is to be saved, but it is 2 models' worth of weights", "step 'out'", ONE_MODEL),
    "A - B": ("'out' is to be saved, but it is a delta", "step 'out'", DELTA),
    "0.7*lora": ("'out' is to be saved, but it is a delta", "step 'out'", DELTA),
    "1 + 2": (
        "step 'out' is a number, not weights or a delta",
        "recipe",
        "numbers belong under [variables]",
    ),
    "A + 1": (
        "a number cannot be added to weights or a delta",
        f"{STEP}, character 1: A + 1",
        "numbers multiply: 0.7*x",
    ),
    "A*B": (
        "two models cannot be multiplied",
        f"{STEP}, character 1: A*B",
        "one side of '*' must be a number or variable",
    ),
    "extract(A, rank=2)": (
        "extract() needs a delta; this is weights",
        f"{STEP}, character 1: extract(A, rank=2)",
        "subtract the base: extract(B2 - B, rank=64)",
    ),
    "extract(A - A)": (
        "there is nothing to extract: the delta is 0 everywhere",
        "step 'out'",
        "subtract two different models, or merge something first: extract(A + 0.7*lora - A)",
    ),
    "A + 1e200*1e200*lora": (
        "this number is too large",
        f"{STEP}, character 5: 1e+200*1e+200",
        "write a smaller one",
    ),
    'A + 1e38*lora@"IN04=9"': (
        "a strength is too large: 9e+38",
        None,
        "models hold numbers up to 3.4e38; write a smaller one",
    ),
    "A@ALL": (
        "block weights attach to a delta or an adapter, not to weights",
        f"{STEP}, character 1: A@ALL",
        "a block-weighted sum is A + (B - A)@X",
    ),
    "A + lora@ALL@ALL": (
        "this value has block weights already",
        f"{STEP}, character 5: lora@ALL@ALL",
        "multiply the two lists into one",
    ),
}

NAMES: dict[str, Says] = {
    "A + lorra": (
        "nothing is called 'lorra'",
        f"{STEP}, character 5",
        "did you mean 'lora' or 'glora' or 'dora'?",
    ),
    "A + abc*lora": ("nothing is called 'abc'", f"{STEP}, character 5", "known names: A, B, lora, out"),
    'open("A.safetensors")': (
        "nothing is called 'open'",
        f"{STEP}, character 1",
        "known names: A, B, lora, out",
    ),
}

RANKS: dict[str, Says] = {
    f"extract(B - A, {key}={text})": (
        f"{key} must be a whole number of at least 1, not {text}",
        f"{STEP}, character 1: extract(B - A, {key}={text})",
        None,
    )
    for key in ("rank", "conv_rank")
    for text in ("0", "-1", "1.5")
}

BLOCKS: dict[str, Says] = {
    'A + lora@"1,0,1"': (
        "a list of 3 block weights does not fit SD 1.5",
        f"{STEP}, block weights '1,0,1'",
        f"lists that fit are {LISTS}",
    ),
    'A + lora@"1,1,1,1,1,1,1,1,1,1,1,1"': (
        "a list of 12 block weights does not fit SD 1.5",
        f"{STEP}, block weights '1,1,1,1,1,1,1,1,1,1,1,1'",
        'by the block names of SDXL it is "BASE=1,IN04=1,IN05=1,IN07=1,IN08=1,MID=1,OUT00=1,OUT01=1,OUT02=1,'
        'OUT03=1,OUT04=1,OUT05=1" (IN00…IN03 IN06 IN09…IN11 OUT06…OUT11 weigh 1); '
        f"lists that fit are {LISTS}",
    ),
    "A + lora@MIDDD": ("there are no block weights called 'MIDDD'", STEP, "did you mean 'MIDD'?"),
    'A + lora@"MIDDD"': ("there are no block weights called 'MIDDD'", STEP, "did you mean 'MIDD'?"),
    'A + lora@"IN99=0.3"': (
        "'IN99' is not a block of SD 1.5",
        f"{STEP}, block weights 'IN99=0.3'",
        "did you mean 'IN09'?",
    ),
    f'A + lora@"R,{SEVENTEEN[2:]}"': (
        "'R' is drawn at random when rendering; a merge needs a number in its place",
        f"{STEP}, block weights 'R,{SEVENTEEN[2:]}'",
        "write a number instead of 'R', for instance the one a render reported",
    ),
}

GRAMMAR: dict[str, Says] = {
    '__import__("os").system("true")': (
        "only functions of the language and adapters can be called",
        at(1, '__import__("os").system("true")'),
        ALLOWED,
    ),
    "(lambda: A)()": (
        "only functions of the language and adapters can be called",
        at(1, "(lambda: A)()"),
        ALLOWED,
    ),
    "A.__class__": ("names with a dot are not part of the language", at(1, "A.__class__"), ALLOWED),
    "[x for x in A]": ("this is not part of the language", at(1, "[x for x in A]"), ALLOWED),
    "(x := A)": ("this is not part of the language", at(2, "(x := A)"), ALLOWED),
    'f"{A}"': ("this is not part of the language", at(1, 'f"{A}"'), ALLOWED),
    "A[0]": (
        "square brackets are not part of the language; block weights are attached with '@'",
        at(1, "A[0]"),
        ALLOWED,
    ),
    "A/2": (
        "division is not part of the language; multiply instead: 0.5*x",
        at(3, "A/2"),
        ALLOWED,
    ),
    "A + 0.7x*lora": ("the formula cannot be read here", at(7, "A + 0.7x*lora"), ALLOWED),
    "A + 0.7＊lora": (
        "the formula cannot be read here",
        at(8, "A + 0.7＊lora"),
        "write it with half-width characters: A + 0.7*lora",
    ),
    "A + 70%*lora": (
        "the formula cannot be read here",
        at(8, "A + 70%*lora"),
        "shares are written without a percent sign: A + 0.7*lora",
    ),
    "A + <lora:hina:0.7>": (
        "the formula cannot be read here",
        at(5, "A + <lora:hina:0.7>"),
        "a tag belongs in a prompt; here it is 0.7*hina@OUTALL, and hina=hina.safetensors after it",
    ),
    "B′ - (B - A)*0.7": (
        "the formula cannot be read here",
        at(2, "B′ - (B - A)*0.7"),
        "names are made of letters, digits and _: B1, not B'",
    ),
    "extract(A - lora": ("this bracket is never closed", at(8, "extract(A - lora"), ALLOWED),
    "A + 0,7*lora": (
        "a comma separates arguments of a call and nothing else; decimals take a point: 0.7",
        at(1, "A + 0,7*lora"),
        ALLOWED,
    ),
    "A + 1e999*lora": ("this number is too large", at(5, "A + 1e999*lora"), ALLOWED),
    'A + "0.7"*lora': (
        "a quoted text cannot stand here",
        f"{STEP}, character 5: '0.7'",
        "block lists belong to the right of '@'",
    ),
    "": ("the formula is empty", STEP, 'write one, e.g. "A + 0.7*lora"'),
    "(" * 100 + "A" + ")" * 100: (
        "the formula is too long or nested too deeply (201 characters)",
        STEP,
        "split it into named steps of a recipe",
    ),
}
CASES = TYPES | NAMES | RANKS | BLOCKS | GRAMMAR


@pytest.mark.quick(20)
@pytest.mark.parametrize("formula", CASES, ids=lambda text: text[:40] or "empty")
def test_a_formula_that_makes_no_sense(folder: Path, formula: str) -> None:
    with refused(folder, InputError) as fault:
        run_in(folder, formula)
    assert fault.says(folder) == CASES[formula]


def test_brackets_side_by_side_are_not_nested() -> None:
    assert parse_expression("A" + " + (B - A)" * 100)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_strength_that_is_no_number(folder: Path, value: float) -> None:
    says = (f"the variable 'M' is {value}, not a number to multiply by", "recipe", "M = 0.7")
    with refused(folder, InputError) as fault:
        run_in(folder, "A + M*lora", variables={"M": value})
    assert fault.says(folder) == says
    recipe = recipe_in(folder, "A + M*lora", variables={"M": 0.7})
    with refused(folder, InputError) as fault:
        run_recipe(recipe.with_variables({"M": value}))
    assert fault.says(folder) == says


def test_a_list_that_lacks_the_blocks_of_convolutions(folder: Path) -> None:
    with refused(folder, InputError) as fault:
        run_in(folder, f'A + (B - A)@"{SEVENTEEN}"')
    what, _, fix = fault.says(folder)
    assert what.endswith("in blocks that the block list lacks")
    assert fix == "use the long list, or missing_blocks=0 (as LoRA Block Weight) or 1 (as kohya)"


def test_a_dtype_that_is_not_known(folder: Path) -> None:
    with refused(folder, InputError) as fault:
        run_in(folder, MERGE, dtype="fp17")
    assert fault.says(folder) == ("dtype 'fp17' is not known", "step 'out'", "did you mean 'fp16'?")


def test_a_budget_below_one_layer(folder: Path) -> None:
    with refused(folder, MachineError) as fault:
        run_in(folder, options=RunOptions(threads=1, memory=1 << 20))
    what, where, fix = fault.says(folder)
    layer = r"the layer 'cond_stage_model\.[\w.]+' needs \d+ MiB, more than the memory budget of 1 MiB"
    assert re.fullmatch(layer, what)
    assert re.fullmatch(r"a layer of \d+ × \d+ numbers", str(where))
    assert re.fullmatch(r'give memory="\d+MiB" or more', str(fix))
