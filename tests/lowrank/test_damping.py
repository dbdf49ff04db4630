"""The damping of a LoRA's inputs beside a least-squares solution that is not ours, and where it is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from loralathe.lowrank.damping import HELD, Damping, Moment, response


def moment(x: np.ndarray) -> Moment:
    """Of the rows of x."""
    return Moment(torch.from_numpy(x.T @ x), len(x))


def least_squares(
    down: np.ndarray, kept: np.ndarray, unwanted: np.ndarray, amount: float, held: float
) -> np.ndarray:
    """The same minimum, row by row, by numpy's solver on the stacked equations."""
    ridge = held * (kept**2).mean()
    stacked = np.vstack(
        [
            kept / np.sqrt(len(kept)),
            np.sqrt(amount / len(unwanted)) * unwanted,
            np.sqrt(ridge) * np.eye(down.shape[1]),
        ]
    )
    rows = []
    for row in down:
        wanted = [kept @ row / np.sqrt(len(kept)), np.zeros(len(unwanted)), np.sqrt(ridge) * row]
        rows.append(np.linalg.lstsq(stacked, np.concatenate(wanted), rcond=None)[0])
    return np.array(rows)


@pytest.mark.parametrize("amount", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("count", [7, 60])
def test_it_is_the_least_squares_solution(amount: float, count: int) -> None:
    rng = np.random.default_rng(3)
    down = rng.normal(size=(4, 20))
    kept, unwanted = (
        rng.normal(size=(count, 20)) + 1,
        rng.normal(size=(count + 5, 20)) * np.linspace(0, 2, 20),
    )
    found = Damping.of(moment(kept), moment(unwanted), amount)(torch.from_numpy(down))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(
        found.numpy(), least_squares(down, kept, unwanted, amount, HELD), rtol=1e-6, atol=1e-8
    )


def test_a_word_of_its_own_direction_is_kept_and_the_rest_goes() -> None:
    rng = np.random.default_rng(5)
    axes = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    word, others = axes[0], axes[1:6]
    unwanted = rng.normal(size=(200, 5)) @ others
    kept = np.vstack([np.outer(rng.normal(size=100) + 2, word), rng.normal(size=(100, 5)) @ others])
    down = rng.normal(size=(3, 12))
    found = Damping.of(moment(kept), moment(unwanted), 1e6)(torch.from_numpy(down)).numpy()
    np.testing.assert_allclose(found @ word, down @ word, atol=1e-5)
    np.testing.assert_allclose(found @ others.T, 0, atol=1e-4)
    np.testing.assert_allclose(found @ axes[6:].T, down @ axes[6:].T, atol=1e-5)  # nothing was seen there
    up = torch.from_numpy(rng.normal(size=(8, 3)))
    assert response(up, torch.from_numpy(found), moment(unwanted)) < 1e-8
    left = response(up, torch.from_numpy(found), Moment(torch.from_numpy(np.outer(word, word)), 1))
    assert left == pytest.approx(((up.numpy() @ down @ word) ** 2).sum(), rel=1e-4)


def test_more_damping_leaves_less_without_and_loses_more_with() -> None:
    rng = np.random.default_rng(6)
    kept, unwanted = rng.normal(size=(50, 9)) + 1, rng.normal(size=(50, 9)) - 0.5
    down, up = torch.from_numpy(rng.normal(size=(2, 9))), torch.from_numpy(rng.normal(size=(5, 2)))
    levels = (0.0, 0.1, 1.0, 10.0, 100.0)
    made = [Damping.of(moment(kept), moment(unwanted), level)(down) for level in levels]
    torch.testing.assert_close(made[0], down)
    without = [response(up, one, moment(unwanted)) for one in made]
    lost = [response(up, one - down, moment(kept)) for one in made]
    assert without == sorted(without, reverse=True)
    assert lost == sorted(lost)
    assert lost[0] == 0 < lost[1]


def test_what_no_picture_reaches_stays_and_a_negative_amount_is_refused() -> None:
    down, nothing = torch.ones(1, 3), Moment(torch.zeros(3, 3), 0)
    torch.testing.assert_close(Damping.of(nothing, moment(np.eye(3)), 5.0)(down), down.double())
    with pytest.raises(ValueError, match="damping of -1"):
        Damping.of(nothing, nothing, -1.0)


def test_a_response_is_the_mean_square_of_what_is_added() -> None:
    rng = np.random.default_rng(7)
    up, down, x = rng.normal(size=(6, 2)), rng.normal(size=(2, 5)), rng.normal(size=(40, 5))
    found = response(torch.from_numpy(up), torch.from_numpy(down), moment(x))
    assert found == pytest.approx(((x @ down.T @ up.T) ** 2).sum(1).mean())
