"""One budget of bytes for many modules: a knapsack that chooses singular values of all of them.

Keeping a singular value s explains s² of ‖Δ‖_F² (Eckart–Young) and takes the bytes of one column of `up` and
one row of `down`. Over all modules that is a knapsack problem; the values of one module are taken in order.

Optimality. Within a module s² falls and each singular value takes the same bytes, so density, s² per byte,
falls: no value is denser than those taken before it. Only the bytes that a module takes once, for its names
in the header and its alpha, break this for the first values; joining them into one step up to the best
average makes the steps of a module concave again. The steps of all modules, sorted by density, then solve the
linear relaxation (Dantzig 1957). No choice of whole steps within the same bytes keeps more than the steps
before the one that no longer fits, plus its share: the result falls short of the optimum by less than one
step. Bytes left over are filled with later steps that fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class KnapsackItem:
    """Singular values that a module offers to the budget.

    energies: s² of them in falling order, (k,) float64;  cost: bytes of each, above 0;
    fixed:    bytes that the module takes once, when it has a rank above 0.
    """

    energies: Tensor
    cost: int
    fixed: int = 0


@dataclass(frozen=True)
class Allocation:
    """Ranks by module, in the order of the items.

    kept, nbytes:     sums of s² and of bytes over all steps taken.
    marginal_density: s² per byte of the last step taken; the steps left out are not denser, except for one
                      that did not fit.
    """

    ranks: tuple[int, ...]
    kept: float
    nbytes: int
    marginal_density: float


def allocate_bytes(items: Sequence[KnapsackItem], limit: int) -> Allocation:
    """The most energy within `limit` bytes."""
    steps = _Steps(items)
    n = int(torch.searchsorted(steps.nbytes.cumsum(0), limit, right=True))
    ranks = steps.ranks_after(n)
    left = limit - int(steps.nbytes[:n].sum())
    # Later steps that still fit; a step is taken only after the one before it in its module.
    cheapest = min((item.cost for item in items), default=1)
    for i in range(n, len(steps)):
        if left < cheapest:
            break
        module, size = int(steps.module[i]), int(steps.nbytes[i])
        if size <= left and ranks[module] == int(steps.before[i]):
            ranks[module] = int(steps.after[i])
            left -= size
    return _allocation(items, ranks, steps.marginal_density(n))


def allocate_energy(items: Sequence[KnapsackItem], wanted: float) -> Allocation:
    """The fewest bytes that keep `wanted` of Σ s²; everything when Σ s² is smaller."""
    steps = _Steps(items)
    sums = steps.energy.cumsum(0)
    # The sum of rounded numbers may miss the whole by its last digits.
    n = int(torch.searchsorted(sums, wanted * (1 - 1e-12)))
    if n >= len(steps):
        return _allocation(items, steps.ranks_after(len(steps)), steps.marginal_density(len(steps)))
    ranks = steps.ranks_after(n)
    missing = wanted * (1 - 1e-12) - (float(sums[n - 1]) if n else 0.0)
    if missing > 0:
        i = steps.cheapest_from(n, ranks, missing)
        ranks[int(steps.module[i])] = int(steps.after[i])
    return _allocation(items, ranks, steps.marginal_density(n + 1))


class _Steps:
    """Steps of all modules, the densest first: parallel vectors."""

    def __init__(self, items: Sequence[KnapsackItem]) -> None:
        parts = [_steps_of(i, item) for i, item in enumerate(items) if len(item.energies)]
        rows = torch.cat(parts) if parts else torch.zeros(0, 6, dtype=torch.float64)
        # Stable, so that equal values stay in the order of the modules and of their ranks.
        rows = rows[torch.sort(rows[:, 0], descending=True, stable=True).indices]
        self.density = rows[:, 0]
        self.energy = rows[:, 1]
        self.nbytes = rows[:, 2]
        self.module, self.before, self.after = (rows[:, j].long() for j in (3, 4, 5))
        self.count = len(items)

    def __len__(self) -> int:
        return len(self.energy)

    def ranks_after(self, n: int) -> list[int]:
        """Ranks when the first n steps are taken."""
        ranks = torch.zeros(self.count, dtype=torch.long)
        return ranks.scatter_reduce(0, self.module[:n], self.after[:n], "amax").tolist()

    def marginal_density(self, n: int) -> float:
        return float(self.density[n - 1]) if n else 0.0

    def cheapest_from(self, n: int, ranks: Sequence[int], missing: float) -> int:
        """The step of fewest bytes that can be taken next and has the energy `missing`; step n has."""
        current = torch.tensor(ranks)
        open_now = (self.before[n:] == current[self.module[n:]]) & (self.energy[n:] >= missing)
        sizes = torch.where(open_now, self.nbytes[n:], torch.inf)
        return n + int(sizes.argmin()) if bool(open_now.any()) else n


def _steps_of(module: int, item: KnapsackItem) -> Tensor:
    """(density, energy, bytes, module, rank before, rank after) of each step, density falling."""
    energies = item.energies.double()
    ranks = torch.arange(1, len(energies) + 1, dtype=torch.float64)
    average = energies.cumsum(0) / (item.fixed + item.cost * ranks)
    first = int(average.argmax()) + 1
    energy = torch.cat([energies[:first].sum()[None], energies[first:]])
    nbytes = torch.full_like(energy, float(item.cost))
    nbytes[0] = item.fixed + item.cost * first
    after = torch.arange(first, len(energies) + 1, dtype=torch.float64)
    before = torch.cat([torch.zeros(1, dtype=torch.float64), after[:-1]])
    # Rounding of the average must not let a later step overtake an earlier one.
    density = (energy / nbytes).cummin(0).values
    return torch.stack([density, energy, nbytes, torch.full_like(energy, float(module)), before, after], 1)


def _allocation(items: Sequence[KnapsackItem], ranks: Sequence[int], marginal_density: float) -> Allocation:
    taken = [(item, rank) for item, rank in zip(items, ranks, strict=True) if rank]
    kept = sum(float(item.energies[:rank].sum()) for item, rank in taken)
    return Allocation(
        tuple(ranks), kept, sum(item.fixed + item.cost * rank for item, rank in taken), marginal_density
    )
