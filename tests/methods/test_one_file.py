"""A merge method is one file: put into the folder of methods, it is there in formulas, errors and names."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from loralathe.cli.app import lathe
from loralathe.errors import InputError
from loralathe.language import functions, make_recipe, methods

TOY = Path(__file__).parent / "toy"


@pytest.fixture
def toy(monkeypatch):
    """The folder of methods with one more file in it."""
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(TOY)])
    functions.cache_clear()
    yield
    functions.cache_clear()
    sys.modules.pop("loralathe.language.methods.halfway", None)


def test_it_runs_from_files_to_a_file(toy, sd1, tmp_path):
    inputs = [f"{name}={sd1.path(name)}" for name in "AB"]
    out = tmp_path / "out.safetensors"
    found = CliRunner().invoke(
        lathe, ["eval", "A + halfway(B - A, B, 0.25) - halfway(B - A, B - A, 0)", *inputs, "-o", str(out)]
    )
    assert found.exit_code == 2
    assert "halfway() takes models or deltas, not both: A is a delta, B is weights" in found.output
    found = CliRunner().invoke(
        lathe, ["eval", "halfway(A, B, share=0.25)", *inputs, "-o", str(out), "--dtype", "fp32"]
    )
    assert found.exit_code == 0, found.output
    written, A, B = load_file(out), sd1.exact("A"), sd1.exact("B")
    for key, a in A.items():
        if key.endswith("logit_scale"):  # kept from A by rule
            continue
        expected = a + (B[key] >= 0) * 0.25 / np.abs(a).max() * (B[key] - a)
        np.testing.assert_allclose(written[key].double().numpy(), expected, rtol=1e-5, atol=1e-6, err_msg=key)


def test_its_name_is_reserved_and_its_usage_is_told(toy, sd1):
    with pytest.raises(InputError, match="'halfway' is both a function and an input"):
        make_recipe(inputs={"halfway": sd1.path("A")}, steps={})
    with pytest.raises(InputError, match="did you mean 'halfway'"):
        make_recipe(inputs=sd1.paths, steps={"x": "halfwey(A, B)"})
    assert str(functions()["halfway"]) == "halfway(A, B, share=0.5)"


def test_without_the_file_nothing_is_called_so(sd1):
    assert "halfway" not in functions()
    with pytest.raises(InputError, match="nothing is called 'halfway'"):
        make_recipe(inputs=sd1.paths, steps={"x": "halfway(A, B)"})
