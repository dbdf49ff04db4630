"""Sparse deltas: elements dropped by chance, by rank, or by size; see each class for its source."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loralathe.language.expressions import LinearExpression, method_expression
from loralathe.language.function import CallArguments, Function, number, value
from loralathe.language.method import Arguments, MakeRows, Method, Values

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

ALL = 1 << 32
PER_BLOCK = 8
"""32-bit numbers that one value of Philox's counter gives."""


@dataclass(frozen=True)
class Dare(Method):
    """DARE: drop with probability p, rescale by 1/(1 − p). Yu, Yu, Yu, Huang, Li 2023, "Language Models are
    Super Mario", §3.2, eq. 4."""

    p: float
    seed: int

    name = "dare"

    @property
    def gain(self) -> float:
        return 1.0 / math.sqrt(1.0 - self.p)

    def prepare(self, tensor: Arguments) -> MakeRows:
        name, limit, scale = tensor.address.name, round(self.p * ALL), 1.0 / (1.0 - self.p)

        def make(values: Values, rows: range) -> Tensor:
            import torch

            delta = values[0]
            drawn = _drawn(name, self.seed, rows.start, delta)
            kept = torch.from_numpy(drawn >= limit).view(delta.shape)
            return (delta * scale).mul_(kept)

        return make


@dataclass(frozen=True)
class Della(Method):
    """MagPrune, the drop step of DELLA: in every row, the smaller an element the likelier it is dropped.
    Deep, Bhardwaj, Poria 2024, "DELLA-Merging: Reducing Interference through Magnitude-Based Sampling", §3.1.

    p_i = p − ε/2 + ε·r_i/n for the element of rank r_i (0: the largest) of n; what is kept, over 1 − p_i.
    """

    p: float
    epsilon: float
    seed: int

    name = "della"
    scratch = 24

    @property
    def gain(self) -> float:
        return 1.0 / math.sqrt(1.0 - self.p)

    def prepare(self, tensor: Arguments) -> MakeRows:
        import torch

        # A bias or norm is one row of the paper's, though our bands see it as a column.
        flat = len(tensor.shape) == 1
        size = tensor.shape[0] if flat else math.prod(tensor.shape[1:])
        chance = self.p - self.epsilon / 2 + self.epsilon / size * torch.arange(size, dtype=torch.float64)
        limits = (chance * ALL).round().to(torch.int64)
        scales = (1.0 / (1.0 - chance)).float()
        ranks_of_vector = _ranks(tensor.rows(0, size)[0].reshape(1, -1)).view(-1, 1) if flat else None
        name = tensor.address.name

        def make(values: Values, rows: range) -> Tensor:
            delta = values[0]
            whole = ranks_of_vector
            ranks = _ranks(delta) if whole is None else whole[rows.start : rows.stop]
            drawn = torch.from_numpy(_drawn(name, self.seed, rows.start, delta).astype("int64")).view(
                delta.shape
            )
            return (delta * scales[ranks]).mul_(drawn >= limits[ranks])

        return make


@dataclass(frozen=True)
class Breadcrumbs(Method):
    """Drop the largest and the smallest elements of each tensor. Davari, Belilovsky 2023, "Model Breadcrumbs:
    Scaling Multi-Task Model Merging with Sparse Masks", §3.

    top, bottom: fractions of the elements; those as large as the smallest or largest kept stay, too.
    """

    top: float
    bottom: float

    name = "breadcrumbs"
    passes = 2

    def prepare(self, tensor: Arguments) -> MakeRows:
        from loralathe.language.order_statistics import kth_largest_magnitudes

        numel = math.prod(tensor.shape)
        first = min(numel, round(self.top * numel) + 1)
        last = max(first, numel - round(self.bottom * numel))
        ((largest, smallest),) = kth_largest_magnitudes(tensor.bands, [[first, last]])

        def make(values: Values, rows: range) -> Tensor:
            size = values[0].abs()
            return values[0] * ((size >= smallest) & (size <= largest))

        return make


def _ranks(delta: Tensor) -> Tensor:
    """Rank of every element in its row by magnitude, 0 the largest; of equals the first comes first."""
    import torch

    order = torch.argsort(delta.abs(), dim=1, descending=True, stable=True)
    places = torch.arange(delta.shape[1]).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def _drawn(name: str, seed: int, start: int, delta: Tensor) -> np.ndarray:
    return uniform_bits(name, seed, start * delta.shape[1], delta.numel())


def uniform_bits(name: str, seed: int, start: int, count: int) -> np.ndarray:
    """`count` 32-bit numbers, uniform and independent, for the elements start, start + 1, … of a tensor.

    Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), keyed by the seed
    and the tensor's canonical name, its counter the element's index.
    """
    import numpy as np

    block, skip = divmod(start, PER_BLOCK)
    philox = np.random.Philox(counter=block, key=seed << 64 | zlib.crc32(name.encode()))
    words = philox.random_raw(-(-(skip + count) // 2))
    return words.astype("<u8", copy=False).view("<u4")[skip : skip + count]


def dare(call: CallArguments) -> LinearExpression:
    delta, p = call.delta("delta"), call.between("p", 0.0, 1.0, open_high=True)
    return delta if p == 0.0 else method_expression(Dare(p, call.whole("seed")), delta)


def della(call: CallArguments) -> LinearExpression:
    delta, p = call.delta("delta"), call.between("p", 0.0, 1.0, open_high=True)
    epsilon = call.between("epsilon", 0.0, 1.0)
    if p - epsilon / 2 < 0.0 or p + epsilon / 2 >= 1.0:
        raise call.error(
            f"p ± epsilon/2 must stay between 0 and 1; {p:g} ± {epsilon / 2:g} does not",
            f"epsilon can be at most {2 * min(p, 1.0 - p):g} here",
        )
    return method_expression(Della(p, epsilon, call.whole("seed")), delta)


def breadcrumbs(call: CallArguments) -> LinearExpression:
    delta = call.delta("delta")
    top, bottom = call.between("top", 0.0, 1.0), call.between("bottom", 0.0, 1.0)
    if top + bottom >= 1.0:
        raise call.error(f"top and bottom leave nothing: {top:g} + {bottom:g} is 1 or more")
    return method_expression(Breadcrumbs(top, bottom), delta)


_DELTA, _SEED = value("delta"), number("seed", 0.0)
FUNCTIONS = (
    Function("dare", (_DELTA, number("p"), _SEED), dare),
    Function("della", (_DELTA, number("p"), number("epsilon", 0.2), _SEED), della),
    Function("breadcrumbs", (_DELTA, number("top", 0.01), number("bottom", 0.85)), breadcrumbs),
)
