"""RunOptions refuse what has no meaning, for the library as for the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from loralathe.engine import RunOptions, evaluate_weights, open_session, run_recipe
from loralathe.errors import InputError
from loralathe.language import Recipe, Save, make_recipe


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads(threads):
    with pytest.raises(InputError, match="cannot be the number of threads"):
        RunOptions(threads=threads)


@pytest.mark.parametrize("memory", [0, -1, 1000, 1e9, True, None, "1GB"])
def test_memory(memory):
    with pytest.raises(InputError, match="cannot be the memory limit"):
        RunOptions(memory=memory)


@pytest.mark.parametrize("weight", [0.5, 2, -1, True, False, "0"])
def test_missing_blocks(weight):
    with pytest.raises(InputError, match="cannot be the weight of missing blocks"):
        RunOptions(missing_blocks=weight)


def test_what_has_meaning():
    assert RunOptions(threads=1, memory=1 << 20, missing_blocks=0).missing_blocks == 0


@pytest.fixture
def recipe(sd1, tmp_path: Path) -> Recipe:
    inputs = {name: sd1.path(name) for name in ("A", "B")}
    return make_recipe(
        inputs=inputs, steps={"x": "A + 0.5*(B - A)"}, saves=[Save("x", tmp_path / "x.safetensors")]
    )


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta", ""])
@pytest.mark.parametrize(
    "call",
    [
        run_recipe,
        lambda *args: open_session(*args).__enter__(),
        lambda *args: evaluate_weights(args[0], "x", options=args[1]),
    ],
)
def test_devices_that_are_not_there(recipe, tmp_path, call, device):
    with pytest.raises(InputError, match=f"the device '{device}' cannot be used"):
        call(recipe, RunOptions(device=device))
    assert not list(tmp_path.iterdir())
