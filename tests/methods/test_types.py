"""What may stand in a call, what comes out, and errors that teach."""

from __future__ import annotations

import pytest

from loralathe.engine import RunOptions, open_session
from loralathe.errors import InputError
from loralathe.language import Save, make_recipe
from loralathe.language.expressions import describe


def typed(models, formula):
    recipe = make_recipe(
        inputs=models.paths,
        steps={"x": formula},
        variables={"M": 0.5},
        blocks={"X": "IN04=0.3"},
        saves=[Save("x", models.folder / "never.safetensors")],
    )
    with open_session(recipe, RunOptions(hash_inputs=False)) as session:
        return session


WEIGHTS = [
    "ties(A, B)",
    "ties(A, B, lora, density=0.5)",
    "A + ties(lora)",
    "B + 0.7*ties(B - A, lora)@X",
    "slerp(A, B, M)",
    "slerp(A + lora, B, t=MIDD)",
    "A + slerp(lora, other, 0.5)",
    "0.5*slerp(A, B, 0.5) + 0.5*cosine_a(A, C, 0.2)",
    "cosine_b(A, B, alpha='IN04=0.5', low=-1)",
    "adjust(ties(A, B, C), '0,0,0,0,1')",
    "weighted_sum(A, B, MIDD)",
    "train_difference(A, B, C, alpha=X)",
    "A + extract(ties(A, B, C) - A, rank=4)",
    "bf16(smooth_add(A, B, C, 0.5))",
    "A + dare(della(breadcrumbs(B - A), p=0.5), p=M, seed=7)",
]


@pytest.mark.quick(8)
@pytest.mark.parametrize("formula", WEIGHTS)
def test_these_are_weights(sd1, formula):
    session = typed(sd1, formula)
    assert describe(session.expressions["x"]) == "weights"
    assert session.plan.outputs[0].primary in {"A", "B"}


ERRORS = {
    "dare(B, 0.5)": "works on a delta; this is weights",
    "A + dare(B - A)": "needs 'p'",
    "A + dare(B - A, 1)": "below 1",
    "A + weighted_sum(lora, other, 0.3, elements='IN04:attn2:0.5')@X": "block weights already",
    "A + dare(B - A, -0.1)": "at least 0",
    "A + dare(B - A, 0.5, seed=1.5)": "whole number",
    "A + dare(B - A, 0.5, 1, 2)": "takes 3 values",
    "A + dare(B - A, 0.5, sed=1)": "no argument 'sed'",
    "A + dare(B - A, 0.5, p=0.5)": "'p' is given twice",
    "A + dare(0.5, 0.5)": "not a number",
    "ties(A)": "nothing to merge",
    "ties()": "needs 'x'",
    "A + ties(lora, B)": "no base",
    "ties(A + B, C)": "2 models' worth",
    "ties(A, B, density=0)": "above 0",
    "ties(A, B, density=1.5)": "at most 1",
    "ties(A, x=B)": "no argument 'x'",
    "slerp(A, lora, 0.5)": "not both: A is weights, B is a delta",
    "slerp(A, B)": "needs 't'",
    "slerp(A, B, t='IN99=1')": "not a block of",
    "slerp(A, B, t=Y)": "no block weights called 'Y'",
    "slerp(A, B, t=C)": "is an input, not a list",
    "cosine_a(A, B, 0.2, low=1)": "low must be below high",
    "A + della(B - A, 0.05)": "epsilon can be at most 0.1",
    "A + breadcrumbs(B - A, 0.5, 0.5)": "leave nothing",
    "adjust(B - A, 'BRI=1')": "works on a model",
    "adjust(A, 0.5)": "quoted text",
    "adjust(A, 'BRY=1')": "no setting 'BRY'",
    "adjust(A, '1,2,3,4,5,6,7,8,9')": "8 settings, not 9",
    "adjust(A, 'BRI=x')": "not a number",
    "weighted_sum(A, B, 0.5, elements=0.5)": "quoted text",
    "weighted_sum(A, B, 0.5) + A": "2 models' worth",
    "A + slerp": "'slerp' is a function",
    "A + extract": "'extract' is a function",
    "tias(A, B)": "nothing is called 'tias'",
    "weighted_sum(A, B, bete)": "no block weights called 'bete'",
}


@pytest.mark.quick(18)
@pytest.mark.parametrize("formula", ERRORS)
def test_these_are_errors_that_teach(sd1, formula):
    with pytest.raises(InputError) as caught:
        typed(sd1, formula)
    assert ERRORS[formula] in str(caught.value)
    assert caught.value.where


def test_misspelt_functions_and_arguments_get_close_matches(sd1):
    with pytest.raises(InputError, match="did you mean 'ties'"):
        typed(sd1, "tias(A, B)")
    with pytest.raises(InputError, match="did you mean 'seed'"):
        typed(sd1, "A + dare(B - A, 0.5, sed=1)")


def test_block_lists_of_methods_are_checked_against_the_model(sd1):
    """A short list has nothing for the resnets: the error comes from the headers, as for sums."""
    short = ",".join(["0.5"] * 17)
    for formula in (
        f"slerp(A, B, '{short}')",
        f"weighted_sum(A, B, '{short}')",
        f"A + ties((B - A)@'{short}')",
    ):
        with pytest.raises(InputError, match="in blocks that the block list lacks"):
            typed(sd1, formula)
