"""Sums by name: they are terms of the normal form, so they equal their formulas and nothing is opaque."""

from __future__ import annotations

import re

import numpy as np
import pytest

from loralathe.engine import RunOptions, open_session
from loralathe.language import Save, make_recipe
from loralathe.language.expressions import AdapterLeaf, CheckpointLeaf, settle


def form_of(models, formula, **names):
    recipe = make_recipe(
        inputs=models.paths,
        steps={"x": formula},
        saves=[Save("x", models.folder / "never.safetensors")],
        **names,
    )
    with open_session(recipe, RunOptions(hash_inputs=False)) as session:
        return session.expressions["x"]


EQUAL = {
    "weighted_sum(A, B, 0.3)": "0.7*A + 0.3*B",
    "weighted_sum(A, B, alpha=M)": "0.5*A + 0.5*B",
    "add_difference(A, B, C, 0.7)": "A + 0.7*(B - C)",
    "triple_sum(A, B, C, 0.2, 0.3)": "0.5*A + 0.2*B + 0.3*C",
    "sum_twice(A, B, C, 0.25, 0.5)": "0.5*(0.75*A + 0.25*B) + 0.5*C",
    "A + weighted_sum(lora, other, 0.25)": "A + 0.75*lora + 0.25*other",
    "A + dare(lora, 0)": "A + lora",
    "slerp(A, B, 0)": "A",
    "slerp(A, B, t=1)": "B",
    "smooth_add(A, B, C, 0)": "A + 0*(B - C)",
}


def coefficients(expression):
    """Leaf → (text encoder, U-Net) coefficient, what cancels left out."""
    parts: dict[object, list[tuple[float, float]]] = {}
    for term in expression.terms:
        assert term.strength.blocks is None
        parts.setdefault(term.leaf, []).append((term.strength.te, term.strength.unet))
    sums = {
        leaf: (settle([te for te, _ in held]), settle([u for _, u in held])) for leaf, held in parts.items()
    }
    return {leaf: total for leaf, total in sums.items() if any(total)}


@pytest.mark.quick(5)
@pytest.mark.parametrize("call", EQUAL)
def test_sums_are_their_formulas(sd1, call):
    found = coefficients(form_of(sd1, call, variables={"M": 0.5}))
    expected = coefficients(form_of(sd1, EQUAL[call]))
    assert found.keys() == expected.keys()
    for leaf, pair in expected.items():
        assert found[leaf] == pytest.approx(pair), leaf


def test_add_difference_through_files(sd1, run):
    found, _ = run(sd1, "add_difference(A, B, C, 0.7)")
    A, B, C = sd1.exact("A"), sd1.exact("B"), sd1.exact("C")
    for key, a in A.items():
        expected = a + 0.7 * (B[key] - C[key])
        np.testing.assert_allclose(found[key].double().numpy(), expected, rtol=1e-6, atol=1e-7, err_msg=key)


@pytest.mark.parametrize(
    "call",
    [
        "weighted_sum(A, B, 0.3)",
        "weighted_sum(A, B, X)",
        "weighted_sum(A, B, X, elements='IN04:attn2:0.5')",
        "add_difference(A, B, C, X)",
        "triple_sum(A, B, C, X, 0.2)",
        "sum_twice(A, B, C, X, 'OUT03=0.5')",
        "sum_twice(A + lora, B, C, 0.5, X)",
    ],
)
def test_sums_hold_nothing_opaque(sd1, call):
    expression = form_of(sd1, call, blocks={"X": "IN04=0.3"})
    assert all(isinstance(leaf, (CheckpointLeaf, AdapterLeaf)) for leaf in expression.leaves)
    assert expression.is_weights


def test_a_sum_at_0_reads_one_model(sd1):
    expression = form_of(sd1, "extract(weighted_sum(A, B, 0.5) - triple_sum(A, B, C, 0.5, 0), rank=2) + A")
    (extraction,) = (term.leaf for term in expression.terms if not isinstance(term.leaf, CheckpointLeaf))
    assert extraction.expression.primary is None


LISTS = {
    "sd1": [round(0.03 * index, 2) for index in range(26)],
    "sdxl": [round(0.04 * index, 2) for index in range(20)],
}


def supermerger_block(family: str, key: str) -> int:
    """The place in the list that SuperMerger gives a tensor (docs/merge-methods.md), from the key alone."""
    depth = 12 if family == "sd1" else 9
    if found := re.search(r"diffusion_model\.(input|output)_blocks\.(\d+)\.", key):
        return int(found[2]) + (1 if found[1] == "input" else depth + 2)
    if "middle_block" in key:
        return depth + 1
    if "time_embed" in key or "label_emb" in key:
        return 1
    return 2 * depth + 1 if "diffusion_model.out." in key else 0


@pytest.mark.quick(1)
def test_block_lists_weigh_every_tensor_as_supermerger_does(models, run):
    """Time embedding as IN00, output layers as the last OUT, text encoders and VAE as BASE."""
    weights = LISTS[models.family]
    found, _ = run(models, "weighted_sum(A, B, X)", blocks={"X": ",".join(map(str, weights))})
    A, B = models.exact("A"), models.exact("B")
    for key, a in A.items():
        if key.endswith("logit_scale"):  # kept from A by rule
            continue
        weight = weights[supermerger_block(models.family, key)]
        expected = (1 - weight) * a + weight * B[key]
        np.testing.assert_allclose(found[key].double().numpy(), expected, rtol=1e-6, atol=1e-7, err_msg=key)


@pytest.mark.quick(1)
@pytest.mark.long
def test_two_lists_multiply_block_by_block(models, run):
    """sum_twice: (1 − β)((1 − α)A + αB) + βC with both from lists."""
    alphas = LISTS[models.family]
    betas = [1.0 - weight for weight in alphas]
    text = {"X": ",".join(map(str, alphas)), "Y": ",".join(map(str, betas))}
    twice, _ = run(models, "sum_twice(A, B, C, X, Y)", blocks=text)
    triple, _ = run(models, "triple_sum(A, B, C, X, Y)", blocks=text)
    A, B, C = models.exact("A"), models.exact("B"), models.exact("C")
    for key, a in A.items():
        if key.endswith("logit_scale"):  # kept from A by rule
            continue
        place = supermerger_block(models.family, key)
        x, y = alphas[place], betas[place]
        expected = (1 - y) * ((1 - x) * a + x * B[key]) + y * C[key]
        np.testing.assert_allclose(twice[key].double().numpy(), expected, rtol=1e-6, atol=1e-7, err_msg=key)
        expected = (1 - x - y) * a + x * B[key] + y * C[key]
        np.testing.assert_allclose(triple[key].double().numpy(), expected, rtol=1e-6, atol=1e-7, err_msg=key)


def test_element_rules_replace_alpha(sd1, run):
    found, _ = run(sd1, "weighted_sum(A, B, 0.25, elements='IN04-IN05:attn2:0.75')")
    A, B = sd1.exact("A"), sd1.exact("B")
    seen = set()
    for key, a in A.items():
        inside = re.search(r"input_blocks\.[45]\..*attn2\.", key) is not None
        seen.add(inside)
        weight = 0.75 if inside else 0.25
        expected = (1 - weight) * a + weight * B[key]
        np.testing.assert_allclose(found[key].double().numpy(), expected, rtol=1e-6, atol=1e-7, err_msg=key)
    assert seen == {True, False}


def test_a_list_over_a_value_that_has_one_multiplies(sd1, run):
    """(A + lora@X) summed by blocks: X and the new list both apply."""
    found, _ = run(
        sd1, "weighted_sum(A, A + lora@X, Y)", blocks={"X": "*=0.5,IN04=0.25", "Y": "*=0.5,IN05=0.1"}
    )
    product, _ = run(sd1, "A + lora@Z", blocks={"Z": "*=0.25,IN04=0.125,IN05=0.05"})
    for key, value in product.items():
        np.testing.assert_allclose(found[key].numpy(), value.numpy(), rtol=1e-5, atol=1e-6, err_msg=key)
