"""Factor algebra against dense float64 arithmetic."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loralathe.lowrank import (
    Factors,
    compress,
    concatenate,
    cosine,
    dense,
    factors_energy,
    flatten_tucker,
    inner,
)
from lowrank.matrices import normal


def plain(rank: int, shape: tuple[int, ...] = (12, 9), seed: int = 0) -> Factors:
    width = torch.Size(shape[1:]).numel()
    return Factors(normal(shape[0], rank, seed=seed), normal(rank, width, seed=seed + 100), shape)


def tucker(out_rank: int, in_rank: int, shape: tuple[int, int, int, int], seed: int = 0) -> Factors:
    return Factors(
        normal(shape[0], out_rank, seed=seed),
        normal(in_rank, shape[1], seed=seed + 1),
        shape,
        normal(out_rank, in_rank, *shape[2:], seed=seed + 2),
    )


def test_a_convolution_delta_takes_the_weights_shape() -> None:
    factors = plain(4, (6, 5, 3, 3))
    weight = dense(factors)
    assert weight.shape == (6, 5, 3, 3)
    assert weight[2, 3, 1, 2] == pytest.approx(float(factors.up[2] @ factors.down[:, 3 * 9 + 1 * 3 + 2]))


def test_a_tucker_delta_follows_its_definition_entry_by_entry() -> None:
    f = tucker(3, 4, (5, 6, 3, 2))
    assert f.mid is not None
    weight = dense(f)
    for o, c, y, x in [(0, 0, 0, 0), (4, 5, 2, 1), (2, 3, 1, 0)]:
        expected = sum(
            float(f.mid[i, j, y, x] * f.up[o, i] * f.down[j, c]) for i in range(3) for j in range(4)
        )
        assert float(weight[o, c, y, x]) == pytest.approx(expected)


def test_a_tucker_delta_is_three_convolutions_in_a_row() -> None:
    f = tucker(3, 4, (5, 6, 3, 3))
    assert f.mid is not None
    image = normal(1, 6, 8, 8, seed=9)
    conv = torch.nn.functional.conv2d
    in_a_row = conv(conv(conv(image, f.down[:, :, None, None]), f.mid), f.up[:, :, None, None])
    torch.testing.assert_close(conv(image, dense(f)), in_a_row)


def test_flattening_keeps_plain_factors_and_the_delta() -> None:
    f = tucker(3, 4, (5, 6, 3, 3))
    flat = flatten_tucker(f)
    assert flat.mid is None
    torch.testing.assert_close(dense(flat), dense(f))
    assert flatten_tucker(flat) is flat


@settings(max_examples=50, deadline=None)
@given(
    ranks=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    weights=st.lists(st.floats(-2, 2), min_size=4, max_size=4),
)
def test_concatenation_is_the_weighted_sum(ranks: list[int], weights: list[float]) -> None:
    terms = [plain(rank, seed=i) for i, rank in enumerate(ranks)]
    used = weights[: len(ranks)]
    expected = sum(w * dense(term) for w, term in zip(used, terms, strict=True))
    total = concatenate(terms, used)
    torch.testing.assert_close(dense(total), expected)
    assert total.rank == sum(r for r, w in zip(ranks, used, strict=True) if w)


def test_tucker_and_plain_terms_add_up() -> None:
    shape = (5, 6, 3, 3)
    a, b = tucker(3, 4, shape), plain(2, shape, seed=5)
    torch.testing.assert_close(dense(concatenate([a, b], [0.5, -2])), 0.5 * dense(a) - 2 * dense(b))


def test_compress_at_full_rank_changes_nothing_and_below_it_is_optimal() -> None:
    terms, weights = [plain(4, (30, 20)), plain(5, (30, 20), seed=3)], [1.0, -0.5]
    delta = dense(terms[0]) - 0.5 * dense(terms[1])
    U, S, Vh = compress(terms, weights)
    torch.testing.assert_close((U * S) @ Vh, delta)
    U, S, Vh = compress(terms, weights, 3)
    best = float(torch.linalg.svdvals(delta)[3:].norm())
    assert float((delta - (U * S) @ Vh).norm()) == pytest.approx(best)


def test_compress_of_nothing_and_of_what_cancels_is_rank_zero() -> None:
    f = plain(3)
    assert len(compress([f], [0.0]).S) == 0
    assert len(compress([f, f], [1.0, -1.0]).S) == 0


@settings(max_examples=40, deadline=None)
@given(rank_a=st.integers(1, 8), rank_b=st.integers(1, 8), seed=st.integers(0, 100))
def test_inner_products_need_no_product(rank_a: int, rank_b: int, seed: int) -> None:
    a, b = plain(rank_a, seed=seed), plain(rank_b, seed=seed + 50)
    expected = float((dense(a) * dense(b)).sum())
    assert inner(a, b) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert factors_energy(a) == pytest.approx(float(dense(a).square().sum()))
    angle = torch.nn.functional.cosine_similarity(dense(a).flatten(), dense(b).flatten(), dim=0)
    assert cosine(a, b) == pytest.approx(float(angle), abs=1e-9)


def test_fp32_factors_of_tiny_deltas_do_not_underflow() -> None:
    a = Factors(torch.full((4, 2), 1e-15), torch.full((2, 3), 1e-15), (4, 3))
    assert factors_energy(a) == pytest.approx(12 * (2e-30) ** 2, rel=1e-5)
    assert cosine(a, a) == pytest.approx(1.0)


def test_cosine_with_nothing_is_zero() -> None:
    nothing = Factors(torch.zeros(12, 2), torch.zeros(2, 9), (12, 9))
    assert cosine(nothing, plain(2)) == 0.0


@pytest.mark.parametrize(
    ("up", "down", "mid"),
    [((4, 2), (3, 5), None), ((3, 2), (2, 5), None), ((4, 2), (2, 5), (2, 2, 1, 1)), ((4, 2), (2, 4), None)],
)
def test_factors_that_do_not_fit_are_refused(
    up: tuple[int, int], down: tuple[int, int], mid: tuple[int, ...] | None
) -> None:
    with pytest.raises(ValueError, match="weight of"):
        Factors(torch.zeros(up), torch.zeros(down), (4, 5), None if mid is None else torch.zeros(mid))


def test_terms_of_different_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="different weights"):
        concatenate([plain(2), plain(2, (9, 12))], [1, 1])
    with pytest.raises(ValueError, match="different weights"):
        inner(plain(2), plain(2, (9, 12)))
