"""Budgets over many modules against exhaustive search and exact knapsacks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loralathe.lowrank import KnapsackItem, allocate_bytes, allocate_energy

spectra = st.lists(st.floats(1e-3, 1e3), min_size=0, max_size=5).map(lambda v: sorted(v, reverse=True))
modules = st.lists(st.tuples(spectra, st.integers(1, 40), st.integers(0, 60)), min_size=1, max_size=4)


def offers_of(rows) -> list[KnapsackItem]:
    return [
        KnapsackItem(torch.tensor(values, dtype=torch.float64), cost, fixed) for values, cost, fixed in rows
    ]


def every_choice(rows):
    """(bytes, energy) of all combinations of ranks."""
    for ranks in itertools.product(*(range(len(values) + 1) for values, _, _ in rows)):
        chosen = list(zip(rows, ranks, strict=True))
        nbytes = sum(fixed + cost * rank for (_, cost, fixed), rank in chosen if rank)
        yield nbytes, sum(sum(values[:rank]) for (values, _, _), rank in chosen)


def largest_step(rows) -> float:
    """More than any one step of the greedy order can be worth."""
    return max((sum(values) for values, _, _ in rows), default=0.0)


@given(modules, st.integers(0, 600))
def test_bytes_are_kept_and_well_spent(rows, limit):
    found = allocate_bytes(offers_of(rows), limit)
    best = max(energy for nbytes, energy in every_choice(rows) if nbytes <= limit)
    assert found.nbytes <= limit
    assert found.kept <= best * (1 + 1e-9)
    assert best - found.kept <= largest_step(rows) + 1e-9
    values = [sum(v[:r]) for (v, _, _), r in zip(rows, found.ranks, strict=True)]
    assert found.kept == pytest.approx(sum(values))


@given(modules, st.floats(0.01, 1.0))
def test_energy_is_reached_with_few_bytes(rows, share):
    total = sum(sum(values) for values, _, _ in rows)
    found = allocate_energy(offers_of(rows), share * total)
    assert found.kept >= share * total * (1 - 1e-9)
    least = min(nbytes for nbytes, energy in every_choice(rows) if energy >= share * total * (1 - 1e-9))
    assert found.nbytes >= least
    slack = max((fixed + cost * len(values) for values, cost, fixed in rows), default=0)
    assert found.nbytes <= least + slack


def falling(generator: np.random.Generator, count: int) -> list[float]:
    return sorted((generator.uniform(0.5, 2) / np.arange(1, count + 1) ** 1.2) ** 2, reverse=True)


def optimum(rows, limit: int, unit: int = 20) -> float:
    """The exact knapsack by dynamic programming over bytes in units; one rank is chosen in each module."""
    best = np.zeros(limit // unit + 1)
    for energies, cost, _ in rows:
        choices = [best.copy()]
        for rank, energy in enumerate(np.cumsum(energies), start=1):
            weight = rank * cost // unit
            if weight < len(best):
                shifted = np.full(len(best), -np.inf)
                shifted[weight:] = best[: len(best) - weight] + energy
                choices.append(shifted)
        best = np.max(choices, axis=0)
    return float(best.max())


@pytest.mark.parametrize("limit", [10_000, 20_000, 100_000])
def test_a_model_of_many_layers_is_within_a_thousandth_of_the_optimum(limit):
    generator = np.random.default_rng(4)
    costs = generator.choice([40, 60, 80, 200], 120)
    rows = [(falling(generator, 30), int(cost), 0) for cost in costs]
    items = offers_of(rows)
    found = allocate_bytes(items, limit)
    best = optimum(rows, limit)
    assert found.nbytes <= limit
    assert best / 1.001 <= found.kept <= best * (1 + 1e-12)
    back = allocate_energy(items, found.kept)
    assert back.nbytes <= found.nbytes + 200, "one step more, where leftovers were filled"
    assert back.kept >= found.kept * (1 - 1e-9)


def test_nothing_to_sell_and_nothing_to_spend():
    empty = KnapsackItem(torch.zeros(0, dtype=torch.float64), 10)
    one = KnapsackItem(torch.tensor([4.0, 1.0], dtype=torch.float64), 10, 5)
    assert allocate_bytes([empty, one], 14).ranks == (0, 0)
    assert allocate_bytes([empty, one], 15).ranks == (0, 1)
    assert allocate_bytes([empty], 100).ranks == (0,)
    assert allocate_energy([empty, one], 9.0).ranks == (0, 2)
    assert allocate_energy([empty, one], 0.0).ranks == (0, 0)


def test_the_price_parts_what_is_taken_from_what_is_not():
    items = [KnapsackItem(torch.tensor([9.0, 4.0, 1.0]), 1), KnapsackItem(torch.tensor([8.0, 3.0]), 1)]
    found = allocate_bytes(items, 3)
    assert (found.ranks, found.kept, found.marginal_density) == ((2, 1), 21.0, 4.0)
