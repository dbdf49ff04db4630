"""Rules of LyCORIS and kohya, from their definitions in numpy."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loralathe.lowrank import RuleKind, nuclear_norm, rank_by

S = torch.tensor([10.0, 5.0, 2.5, 1.0, 0.5, 0.25, 0.1, 0.05])
"""The example of the sd-scripts reference."""


def rank(kind, parameter, values=S):
    energy = float(values.double().square().sum())
    return rank_by(kind, parameter, values, energy, float(values.double().sum()))


@pytest.mark.parametrize(
    ("kind", "parameter", "wanted"),
    [
        ("ratio", 1 / 2.1, 2),  # kohya's sv_ratio 2.1: its criterion asks for 2
        ("quantile", 0.5, 1),  # 10 of 19.4 are 0.515
        ("fro", 0.8, 1),  # √(100 / 132.6) is 0.868
        ("fro", 0.99, 3),
        ("threshold", 0.3, 5),
        ("threshold", 99.0, 1),  # at least one
        ("quantile", 1.0, 8),
    ],
)
def test_known_answers(kind, parameter, wanted):
    assert rank(kind, parameter) == wanted


@given(
    st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12),
    st.sampled_from(get_args(RuleKind)),
    st.floats(0.01, 0.999),
    st.integers(1, 12),
)
def test_leading_values_tell_the_same_or_ask_for_more(values, kind, parameter, known):
    every = np.sort(np.array(values))[::-1].copy()
    sums = np.cumsum(every if kind == "quantile" else every**2)
    if kind in ("threshold", "ratio"):
        wanted = max(1, int((every > parameter * (every[0] if kind == "ratio" else 1)).sum()))
    else:
        share = parameter if kind == "quantile" else parameter**2
        wanted = 1 + int((sums < share * sums[-1]).sum())
    found = rank_by(
        kind, parameter, torch.from_numpy(every[:known].copy()), float((every**2).sum()), float(every.sum())
    )
    assert found is None or found == min(wanted, len(every))
    if found is None:
        assert wanted >= min(known, len(every))


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
def test_nuclear_norm(shape):
    A = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    assert nuclear_norm(A) == pytest.approx(np.linalg.svd(A.numpy(), compute_uv=False).sum(), rel=1e-5)
