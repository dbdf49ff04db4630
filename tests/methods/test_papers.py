"""Every method against float64 numpy, written from its paper's definition and not from our code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from loralathe.language.methods.cosine import Cosine
from loralathe.language.methods.drops import Breadcrumbs, Dare, Della
from loralathe.language.methods.slerp import Slerp
from loralathe.language.methods.smooth_add import Smooth
from loralathe.language.methods.ties import Ties
from loralathe.language.methods.train_difference import TrainDifference
from loralathe.strengths import Strength

from .tensors import Spot, noise, result

SHAPES = [(7,), (12, 5), (6, 3, 3, 3)]
HEIGHTS = [1, 4, 1000]


def at(number: float) -> Strength:
    return Strength(number, number)


# TIES


def ties_by_definition(deltas: list[np.ndarray], density: float) -> np.ndarray:
    """Yadav et al. 2023, algorithm 1, with a sort for the trim."""
    trimmed = []
    for delta in deltas:
        kept = max(1, round(density * delta.size))
        limit = np.sort(np.abs(delta), axis=None)[::-1][kept - 1]
        trimmed.append(np.where(np.abs(delta) >= limit, delta, 0.0))
    stack = np.stack(trimmed)
    agreeing = (np.sign(stack) == np.sign(stack.sum(0))) & (stack != 0.0)
    with np.errstate(invalid="ignore"):
        means = np.where(agreeing, stack, 0.0).sum(0) / agreeing.sum(0)
    return np.where(agreeing.any(0), means, 0.0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_ties(shape, height, density):
    deltas = [noise(seed, *shape) for seed in range(3)]
    found = result(Ties(density), deltas, height=height)
    np.testing.assert_allclose(found, ties_by_definition(deltas, density), rtol=1e-6, atol=0)


def test_ties_of_one_delta_at_full_density_is_that_delta():
    delta = noise(1, 9, 4)
    np.testing.assert_array_equal(result(Ties(1.0), [delta]), delta)


def test_ties_where_signs_cancel_exactly_is_zero():
    delta = noise(1, 3, 3)
    assert not result(Ties(1.0), [delta, -delta]).any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.sampled_from([1e-42, 1e-6, 1.0, 1e30]))
def test_the_threshold_is_the_order_statistic(seed, kept, scale):
    """Any rank of any magnitudes, many of them equal, subnormal ones too."""
    from loralathe.language.order_statistics import kth_largest_magnitudes

    from .tensors import Held

    rng = np.random.default_rng(seed)
    values = (rng.integers(-4, 5, (10, 4)) * rng.choice([1.0, 1.5, 1e-3], (10, 4)) * scale).astype(np.float32)
    ((found,),) = kth_largest_magnitudes(Held([values], 3).bands, [[kept]])
    assert found == np.sort(np.abs(values), axis=None)[::-1][kept - 1]


# DARE, DELLA, breadcrumbs


def test_dare_keeps_or_rescales():
    delta = noise(2, 40, 50)
    found = result(Dare(0.7, seed=3), [delta])
    kept = found != 0.0
    np.testing.assert_allclose(found[kept], delta[kept] / 0.3, rtol=1e-6)
    # 2000 draws: five standard deviations of a binomial.
    assert abs(kept.mean() - 0.3) < 5 * math.sqrt(0.3 * 0.7 / delta.size)


def test_the_mean_of_dare_is_the_delta():
    """E[DARE] = δ (Yu et al. 2023, §3.2): 4000 seeds, each mean within five standard errors."""
    delta = noise(2, 3, 4)
    draws = np.stack([result(Dare(0.6, seed), [delta]) for seed in range(4000)])
    error = np.abs(draws.mean(0) - delta)
    assert (error < 5 * np.abs(delta) * math.sqrt(0.6 / 0.4 / 4000)).all()


@pytest.mark.parametrize("method", [Dare(0.5, 1), Della(0.5, 0.2, 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_masks_belong_to_elements_not_to_bands(method, shape):
    delta = noise(2, *shape)
    whole = result(method, [delta])
    for height in (1, 2, 5):
        np.testing.assert_array_equal(result(method, [delta], height=height), whole)


def test_masks_differ_by_seed_and_by_tensor():
    delta = noise(2, 30, 30)
    masks = [
        result(Dare(0.5, seed), [delta], spot=Spot(name)) != 0.0
        for seed in (0, 1)
        for name in ("unet.a", "unet.b")
    ]
    for index, mask in enumerate(masks):
        for other in masks[:index]:
            assert 0.4 < (mask == other).mean() < 0.6


def test_draws_are_those_of_philox():
    """Frozen: a mask made today must be made again by any later version."""
    from loralathe.language.methods.drops import uniform_bits

    whole = uniform_bits("unet.a", 7, 0, 40)
    assert whole[:3].tolist() == FROZEN
    for start in range(20):
        np.testing.assert_array_equal(uniform_bits("unet.a", 7, start, 20), whole[start : start + 20])


FROZEN = [3526744978, 703074827, 2825824201]


@pytest.mark.parametrize("shape", [(200,), (50, 40), (20, 4, 3, 3)])
def test_della_drops_small_elements_likelier_and_rescales_each_by_its_own_chance(shape):
    """Deep et al. 2024, §3.1: p_i = p_min + (ε/n)·r_i within each row, kept ones divided by 1 − p_i."""
    p, epsilon = 0.6, 0.4
    delta = noise(4, *shape)
    found = result(Della(p, epsilon, seed=9), [delta])
    rows = delta.reshape(1, -1) if len(shape) == 1 else delta.reshape(shape[0], -1)
    ranks = np.argsort(np.argsort(-np.abs(rows), axis=1, kind="stable"), axis=1)
    chance = (p - epsilon / 2 + epsilon / rows.shape[1] * ranks).reshape(shape)
    kept = found != 0.0
    np.testing.assert_allclose(found[kept], (delta / (1 - chance))[kept], rtol=1e-6)
    large, small = kept[chance < p].mean(), kept[chance > p].mean()
    assert large > small
    assert abs(kept.mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / delta.size) + epsilon / rows.shape[1]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("height", HEIGHTS)
def test_breadcrumbs(shape, height):
    """Davari and Belilovsky 2023, §3: what is neither among the largest nor among the smallest stays."""
    delta = noise(5, *shape)
    top, bottom = 0.1, 0.5
    order = np.sort(np.abs(delta), axis=None)
    middle = order[round(bottom * delta.size) : delta.size - round(top * delta.size)]
    expected = np.where(np.isin(np.abs(delta), middle), delta, 0.0)
    np.testing.assert_array_equal(result(Breadcrumbs(top, bottom), [delta], height=height), expected)


def test_breadcrumbs_of_nothing_dropped_is_the_delta():
    delta = noise(5, 8, 8)
    np.testing.assert_array_equal(result(Breadcrumbs(0.0, 0.0), [delta]), delta)


# Slerp


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("t", [0.25, 0.5, 1.3])
def test_slerp(shape, height, t):
    """Shoemake 1985, §3.3, on the directions; lengths linear."""
    a, b = noise(1, *shape), 2.0 * noise(2, *shape)
    found = result(Slerp(at(t)), [a, b], height=height)
    na, nb = np.linalg.norm(a), np.linalg.norm(b)
    theta = np.arccos(np.sum(a / na * b / nb))
    unit = (np.sin((1 - t) * theta) * a / na + np.sin(t * theta) * b / nb) / np.sin(theta)
    np.testing.assert_allclose(found, ((1 - t) * na + t * nb) * unit, rtol=2e-6, atol=1e-6)


def test_slerp_ends_and_length():
    a, b = noise(1, 20, 6), 4.0 * noise(2, 20, 6)
    np.testing.assert_array_equal(result(Slerp(at(0.0)), [a, b]), a)
    np.testing.assert_array_equal(result(Slerp(at(1.0)), [a, b]), b)
    middle = result(Slerp(at(0.5)), [a, b])
    assert np.linalg.norm(middle) == pytest.approx((np.linalg.norm(a) + np.linalg.norm(b)) / 2, rel=1e-6)


def test_slerp_of_nearly_equal_tensors_is_the_straight_line():
    a = noise(1, 30, 30)
    b = a + 1e-7 * noise(2, 30, 30)
    np.testing.assert_allclose(result(Slerp(at(0.3)), [a, b]), 0.7 * a + 0.3 * b, rtol=1e-6)


@pytest.mark.parametrize("pair", [(0.0, 1.0), (1.0, 0.0), (1.0, -1.0), (0.0, 0.0)])
def test_slerp_without_an_arc_is_the_straight_line(pair):
    a = noise(1, 4, 4)
    found = result(Slerp(at(0.25)), [pair[0] * a, pair[1] * a])
    np.testing.assert_allclose(found, (0.75 * pair[0] + 0.25 * pair[1]) * a, rtol=1e-6)


# SuperMerger's modes


def cosine_by_definition(a, b, alpha, low, high, normalise):
    """k·A + (1 − k)·B, columns over dimension 0, with the two cosines written out."""
    flat_a, flat_b = a.reshape(a.shape[0], -1), b.reshape(b.shape[0], -1)
    columns = np.sum(flat_a * flat_b, 0) / (np.linalg.norm(flat_a, axis=0) * np.linalg.norm(flat_b, axis=0))
    if normalise:
        flat_a = flat_a / np.linalg.norm(flat_a, axis=0)
        flat_b = flat_b / np.linalg.norm(flat_b, axis=0)
    whole = np.sum(flat_a * flat_b) / (np.linalg.norm(flat_a) * np.linalg.norm(flat_b))
    k = np.clip(((columns + whole) / 2 - low) / (high - low) - alpha, 0, 1).reshape(1, *a.shape[1:])
    return k * a + (1 - k) * b


@pytest.mark.parametrize("shape", [(30,), (12, 5), (6, 3, 3, 3)])
@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("by_columns", [True, False])
def test_cosine(shape, height, by_columns):
    a = noise(1, *shape)
    b = a + 0.4 * noise(2, *shape)
    found = result(Cosine(at(0.2), by_columns, 0.5, 1.0), [a, b], height=height)
    expected = cosine_by_definition(a, b, 0.2, 0.5, 1.0, by_columns)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("by_columns", [True, False])
def test_cosine_at_its_extremes(by_columns):
    a, b = noise(1, 9, 4), noise(2, 9, 4)
    np.testing.assert_array_equal(result(Cosine(at(1.0), by_columns, 0, 1), [a, b]), b)
    np.testing.assert_array_equal(result(Cosine(at(-2.0), by_columns, 0, 1), [a, b]), a)
    np.testing.assert_allclose(result(Cosine(at(0.5), by_columns, 0, 1), [a, a]), a, rtol=1e-6)


def test_cosine_of_zero_columns_is_finite():
    a, b = noise(1, 5, 3), noise(2, 5, 3)
    a[:, 0] = b[:, 0] = a[:, 1] = 0.0
    assert np.isfinite(result(Cosine(at(0.0), True, 0, 1), [a, b])).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_train_difference(shape):
    """(B − C)·|B − A| / (|B − C| + |B − A|), 0 where all three agree."""
    learned, missing = noise(1, *shape), noise(2, *shape)
    learned.flat[0] = missing.flat[0] = learned.flat[1] = missing.flat[2] = 0.0
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(learned * np.abs(missing) / (np.abs(learned) + np.abs(missing)))
    found = result(TrainDifference(), [learned, missing], height=2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2,), (40,), (9, 7), (23, 4), (6, 5, 3, 3), (3, 2, 1, 1)])
@pytest.mark.parametrize("height", [1, 3, 1000])
def test_smooth_is_scipys_median_and_gaussian(shape, height):
    delta = noise(6, *shape)
    expected = ndimage.gaussian_filter(ndimage.median_filter(delta, size=3), sigma=1)
    np.testing.assert_allclose(result(Smooth(), [delta], height=height), expected, rtol=1e-5, atol=1e-6)
