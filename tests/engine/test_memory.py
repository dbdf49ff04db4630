"""A step evaluated in memory is what its saved file would hold."""

from __future__ import annotations

import pytest
import torch

from loralathe.engine import RunOptions, evaluate_weights
from loralathe.errors import InputError
from loralathe.language import make_recipe


def test_memory_equals_file(sd1, evaluate):
    formula = "A + 0.7*conv - 0.5*(B - A)"
    by_file, _ = evaluate(sd1, formula, dtype="bf16")
    recipe = make_recipe(
        inputs={name: sd1.path(name) for name in ("A", "B", "conv")},
        steps={"x": formula, "l": "extract(B - A)"},
    )
    in_memory = evaluate_weights(recipe, "x", dtype="bf16", options=RunOptions(hash_inputs=False))
    assert in_memory.keys() == by_file.keys()
    assert all(torch.equal(in_memory[key], by_file[key]) for key in by_file)
    with pytest.raises(InputError, match="is an adapter"):
        evaluate_weights(recipe, "l")
    with pytest.raises(InputError, match="no step 'y'"):
        evaluate_weights(recipe, "y")
