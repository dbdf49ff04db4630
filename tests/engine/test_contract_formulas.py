"""docs/semantics.md §3 as a table: formula → what it is, or what the error says."""

from __future__ import annotations

import pytest

from loralathe.engine import RunOptions, open_session
from loralathe.errors import InputError
from loralathe.language import Save, make_recipe
from loralathe.language.expressions import describe

from .reference import lora_names


def typed(family, formula, *, blocks=None, variables=None, steps=None):
    inputs = {name: family.path(name) for name in ("A", "B", "lora")}
    inputs["C"] = family.path("B")
    recipe = make_recipe(
        inputs=inputs,
        steps={**(steps or {}), "x": formula},
        blocks=blocks,
        variables=variables,
        saves=[Save("x", family.folder / "never.safetensors")],
    )
    with open_session(recipe, RunOptions(hash_inputs=False)) as session:
        return session


WEIGHTS = [
    "A",
    "A + B - C",
    "0.3*A + 0.7*B",
    "A + 0.7*lora",
    "A + lora(te=0.5)",
    "A + (B - A)@'IN04=0.3'",
    "A + M*(B - A)@X",
    "B - M*(B - A)",
    "fp16(A + lora)",
    "A + extract(A + lora - A, rank=2)",
    "0.1*A + 0.2*A + 0.7*A",
    "A + extract(B - A, rank=M0)",
    "A + bf16(extract(B - A))",
    "-(-A)",
    "A + lora@MIDD",
]


@pytest.mark.quick(8)
@pytest.mark.parametrize("formula", WEIGHTS)
def test_these_are_weights(sd1, formula):
    session = typed(sd1, formula, blocks={"X": "*=0.5"}, variables={"M": 0.7, "M0": 2})
    assert describe(session.expressions["x"]) == "weights"


ERRORS = {
    "A + B": "2 models' worth of weights",
    "A + B + C": "3 models' worth of weights",
    "A - B": "is to be saved, but it is a delta",
    "0.7*lora": "is to be saved, but it is a delta",
    "lora": "is to be saved, but it is a delta",
    "2*A": "2 models' worth of weights",
    "A + 1": "number cannot be added",
    "A*B": "Two models cannot be multiplied".lower(),
    "A + extract(B, rank=4)": "needs a delta; this is weights",
    "A + extract(A + B)": "this is 2 models' worth of weights",
    "A + extract(lora, rank=0)": "at least 1",
    "A + extract(lora, rank=1.5)": "whole number",
    "A + extract(lora, rnk=4)": "no argument 'rnk'",
    "A + extract()": "needs 'delta'",
    "A@X": "attach to a delta or an adapter",
    "A + (lora@X)@X": "block weights already",
    "A + lora@Y": "no block weights called 'Y'",
    "A + lora@B": "is an input, not a list",
    "A + X": "is a list of block weights",
    "A + lora@'1,2,3'": "a list of 3 block weights does not fit",
    "A + lora@'IN99=1'": "not a block of",
    "A + lora(3)": "named strengths only",
    "A + lora(tee=3)": "no argument 'tee'",
    "A(te=1)": "cannot be called",
    "fp16(A - B)": "rounds weights or an extracted adapter",
    "A + unknown": "nothing is called 'unknown'",
    "A + 'text'": "quoted text cannot stand here",
    "7": "is a number",
    "print(A)": "nothing is called 'print'",
    "A.__class__": "names with a dot",
    "A if B else C": "not part of the language",
}


@pytest.mark.parametrize("formula", ERRORS)
def test_these_are_errors_that_teach(sd1, formula):
    with pytest.raises(InputError) as caught:
        typed(sd1, formula, blocks={"X": "*=0.5"}, variables={"M": 0.7})
    assert ERRORS[formula] in str(caught.value).lower() or ERRORS[formula] in str(caught.value)
    assert caught.value.where


def test_what_was_meant_is_said(sd1):
    with pytest.raises(InputError) as caught:
        typed(sd1, "A + B")
    assert caught.value.fix == "weights must add up to one model: 0.5*A + 0.5*B, or A + (B - C)"


def test_precedence_of_at_is_that_of_times(sd1):
    """`M*(B - A)@X` is `(M*(B - A))@X`."""
    one = typed(sd1, "A + M*(B - A)@X", blocks={"X": "IN04=0.3"}, variables={"M": 0.7})
    two = typed(sd1, "A + (M*(B - A))@X", blocks={"X": "IN04=0.3"}, variables={"M": 0.7})
    assert one.expressions == two.expressions


def test_what_cancels_is_not_read(sd1):
    """`extract((A + 0.7*lora) - A)` needs lora's factors alone: A is in no term, hence in no unit."""
    session = typed(sd1, "extract(A1 - A, rank=4)", steps={"A1": "A + 0.7*lora"})
    (output,) = session.plan.outputs
    assert {unit.key for unit in output.units} == {None}
    assert len(output.units) == len(lora_names(sd1.tensors["lora"]))


def test_steps_and_inputs_share_one_name_space(sd1):
    with pytest.raises(InputError, match="both an input and a step"):
        make_recipe(inputs={"A": sd1.path("A")}, steps={"A": "A"})
    with pytest.raises(InputError, match="circle: x → y → x"):
        make_recipe(inputs={}, steps={"x": "y", "y": "x"})


def test_unused_inputs_are_not_opened(sd1, tmp_path):
    recipe = make_recipe(
        inputs={"A": sd1.path("A"), "absent": tmp_path / "absent.safetensors"},
        steps={"x": "A"},
        saves=[Save("x", tmp_path / "x.safetensors")],
    )
    with open_session(recipe) as session:
        assert set(session.plan.inputs) == {"A"}
