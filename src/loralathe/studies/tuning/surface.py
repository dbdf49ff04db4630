"""What candidates tell of each other: a Gaussian process over the axes. Pure numpy.

Neighbours are much alike. So a candidate that was flawless on a few seeds is trusted more where its
neighbours were, too, and one that was not measured can be foretold. A value is f(x) + noise, and

    f ~ mean + GP(s² · (exp(−½ Σ_a |x_a − x'_a|² / ℓ_a²) + g · [x = x'])),

with a length ℓ_a for each axis, and g for what a candidate has beside what its neighbours tell. They are
those under which the values are most likely, with weak priors since candidates are few: C. E. Rasmussen and
C. K. I. Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 5.

Likeness is flat where a person is always recognized, and falls at an edge. One g for both would hope for
something on the flat, again and again, so errors grow and shrink with what the neighbours were off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log

import numpy as np

from loralathe.studies.tuning.racing import Values

LENGTHS = (0.5, 0.8, 1.3, 2.0, 3.0)
"""ℓ, beside an axis from 0 to 1: from wavy to nearly flat. Quite flat would be sure of what nobody saw."""
HEIGHTS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""s², beside the variance of the values."""
SHARES = (0.003, 0.01, 0.03, 0.1, 0.3)
"""g: never none, since a person is recognized or not, and that turns at edges."""
USUAL_LENGTH, USUAL_SHARE = 1.3, 0.03
LENGTH_PRIOR, HEIGHT_PRIOR = 1.0, 1.5
"""How far ℓ and s² may be from what is usual: standard deviations of their logarithms."""
USUAL = 1.0
"""How many neighbours it takes to say half of how rough a neighbourhood is."""
ROUNDS = 3
"""Of looking for each number in turn; they settle within two."""
SMALLEST = 1e-8
"""A variance: what lies below is rounding."""


@dataclass(frozen=True)
class Shape:
    """lengths: ℓ of each axis;  height: s²;  share: g."""

    lengths: Values
    height: float
    share: float

    def near(self, squares: Values) -> Values:
        """(n, m), from 0 to 1. squares: (axes, n, m), the squared distances."""
        found: Values = np.exp(-0.5 * np.tensordot(1 / self.lengths**2, squares, 1))
        return found

    def covariance(self, squares: Values) -> Values:
        """(n, m) of f."""
        found: Values = self.height * (self.near(squares) + self.share * (squares.sum(0) == 0))
        return found

    def with_length(self, axis: int, length: float) -> Shape:
        lengths = self.lengths.copy()
        lengths[axis] = length
        return replace(self, lengths=lengths)


@dataclass(frozen=True)
class Surface:
    """f, where candidates were measured and where none was.

    off: (n,), the squares by which each value is off what the others foretell, beside the variance that they
    foretell: 1 on average, but little where all is flat, and much at an edge.
    """

    places: Values
    mean: float
    shape: Shape
    root: Values
    pull: Values
    off: Values

    @classmethod
    def through(cls, places: Values, values: Values, noise: Values) -> Surface:
        """The most likely one.

        places: (n, axes, width), see `Space.places`.  values: (n,).  noise: (n,), their variances.
        """
        noise = np.diag(np.maximum(noise, SMALLEST))
        variance = max(float(values.var()), SMALLEST)
        mean = float(np.average(values, weights=1 / (np.diag(noise) + variance)))
        squares = _squares(places, places)

        def likely(shape: Shape) -> float:
            """The logarithm, but for a constant."""
            root = np.linalg.cholesky(shape.covariance(squares) + noise)
            far = np.linalg.solve(root, values - mean)
            lengths = np.log(shape.lengths / USUAL_LENGTH) / LENGTH_PRIOR
            height = log(shape.height / variance) / HEIGHT_PRIOR
            return -0.5 * float(far @ far + lengths @ lengths + height**2) - float(
                np.log(np.diag(root)).sum()
            )

        shape = Shape(np.full(len(squares), USUAL_LENGTH), variance, USUAL_SHARE)
        best = likely(shape)
        for _ in range(ROUNDS):
            before = best
            for axis in range(-2, len(squares)):
                if axis >= 0:
                    others = [shape.with_length(axis, length) for length in LENGTHS]
                elif axis == -1:
                    others = [replace(shape, share=share) for share in SHARES]
                else:
                    others = [replace(shape, height=height * variance) for height in HEIGHTS]
                found = max(others, key=likely)
                if (now := likely(found)) > best:
                    shape, best = found, now
            if best == before:
                break
        root = np.linalg.cholesky(shape.covariance(squares) + noise).astype(np.float64)
        pull = np.linalg.solve(root.T, np.linalg.solve(root, values - mean)).astype(np.float64)
        # Left out one by one: Rasmussen and Williams, equations 5.10 to 5.12.
        off = pull**2 / (np.linalg.inv(root) ** 2).sum(0)
        return cls(places, mean, shape, root, pull, off)

    def at(self, places: Values) -> tuple[Values, Values]:
        """f there, (m,), and its standard errors, (m,), which are those of the neighbourhood."""
        squares = _squares(places, self.places)
        tie, near = self.shape.covariance(squares), self.shape.near(squares)
        told = np.linalg.solve(self.root, tie.T)
        left = self.shape.height * (1 + self.shape.share) - (told**2).sum(0)
        rough = (USUAL + near @ self.off) / (USUAL + near.sum(1))
        return self.mean + tie @ self.pull, np.sqrt(np.maximum(left * rough, SMALLEST))


def _squares(one: Values, other: Values) -> Values:
    """(axes, n, m): squared distances along each axis."""
    return np.stack(
        [((one[:, None, axis] - other[None, :, axis]) ** 2).sum(-1) for axis in range(one.shape[1])]
    )
