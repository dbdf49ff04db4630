"""Sums of models that share little: how much may be subtracted (docs/semantics.md §8)."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkpoints import second_checkpoint, tiny_checkpoint, write_safetensors
from loralathe.engine import kinship, open_session
from loralathe.engine.kinship import distances, kinship_remarks
from loralathe.inspection import compare_files
from loralathe.language import Save, make_recipe
from rendering.conftest import shallow

STD = 0.03
"""Of the weights of a tiny checkpoint."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A; B is as far from it as the bases of the tiny family; B1 is near B; T near A; X has other numbers."""
    path = tmp_path_factory.mktemp("kinship")
    A = shallow(tiny_checkpoint("sd1", seed=1, width_divisor=16, std=STD))
    B = second_checkpoint(A, 0.41 * STD, 2)
    models = {
        "A": A,
        "B": B,
        "B1": second_checkpoint(B, 0.1 * STD, 3),
        "T": second_checkpoint(A, 0.1 * STD, 4),
    }
    models["X"] = shallow(tiny_checkpoint("sd1", seed=9, width_divisor=16, std=STD))
    for name, tensors in models.items():
        write_safetensors(path / f"{name}.safetensors", tensors)
    return path


def said(folder: Path, formula: str, **variables: float) -> list[str]:
    files = {path.stem: path for path in folder.iterdir()}
    save = Save("x", folder / "x.safetensors")
    recipe = make_recipe(inputs=files, steps={"x": formula}, variables=variables, saves=[save])
    with open_session(recipe) as session:
        expression = session.plan.outputs[0].expression
        return [found.text for found in kinship_remarks(expression, session.sources.checkpoints, variables)]


def test_how_far_models_are_apart(folder: Path) -> None:
    files = {name: folder / f"{name}.safetensors" for name in "ABX"}
    save = Save("x", folder / "x.safetensors")
    recipe = make_recipe(inputs=files, steps={"x": "A + B - X"}, saves=[save])
    with open_session(recipe) as session:
        apart = distances(list(session.sources.checkpoints.values()))
    # ‖B‖² = (1 + 0.41²)·‖A‖², and two models of independent numbers are √2 apart.
    assert apart[frozenset("AB")] == pytest.approx(0.41 / (1 + 0.41**2) ** 0.5, rel=0.02)
    assert apart[frozenset("AX")] == pytest.approx(2**0.5, rel=0.02)


def test_the_advice_names_the_distance_of_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of models with the same text encoder, whose larger layers differ more than those that are sampled."""
    monkeypatch.setattr(kinship, "SAMPLE", 1 << 17)
    A = shallow(tiny_checkpoint("sd1", seed=1, width_divisor=16, std=STD))
    larger = {key: tensor + 0.5 * tensor.roll(1) for key, tensor in A.items() if tensor.numel() > 20_000}
    slightly = {key: 1.1 * tensor for key, tensor in A.items() if tensor.numel() < 2_000}
    B = {key: tensor if key.startswith("cond") else (larger | slightly).get(key, tensor)
         for key, tensor in A.items()}  # fmt: skip
    files = {name: tmp_path / f"{name}.safetensors" for name in "AB"}
    for name, tensors in zip("AB", (A, B), strict=True):
        write_safetensors(files[name], tensors)
    recipe = make_recipe(inputs=files, steps={"x": "2*A - B"}, saves=[Save("x", tmp_path / "x.safetensors")])
    with open_session(recipe) as session:
        (apart,) = distances(list(session.sources.checkpoints.values())).values()
    found = compare_files(files["A"], files["B"]).verdict
    assert apart == pytest.approx(found.numbers["distance"], rel=0.02)


LITTLE = "these bases share little ("
SUMS = [
    ("B1 + M*(B - A)", 0.15, None),
    ("B1 + M*(B - A)", 0.7, "M above 0.2 will break pictures"),
    ("B1 + M*(B - A)", -0.7, None),
    ("B1 + M*(B - A)", -1.5, "M below -1.2 will break pictures"),
    ("B1 - M*(B - A)", 1.5, "M above 1.2 will break pictures"),
    ("(1 - M)*A + M*B", 0.5, None),
    ("(1 - M)*A + M*B", 1.5, "M above 1.2 will break pictures"),
    ("B + 0.5*(B - A)", 1.0, "subtracting more than 0.2 of A will break pictures"),
    ("B + M*(T - A)", 3.0, None),
    ("(1 - M)*A + M*X", 0.5, "no sum of them draws pictures"),
]


@pytest.mark.quick(5)
@pytest.mark.parametrize(("formula", "M", "sentence"), SUMS)
def test_how_much_a_sum_bears(folder: Path, formula: str, M: float, sentence: str | None) -> None:
    found = said(folder, formula, M=M)
    assert len(found) == (sentence is not None)
    if sentence is not None:
        assert found[0].endswith(sentence)
        assert found[0].startswith("these models are unrelated (" if "no sum" in sentence else LITTLE)
