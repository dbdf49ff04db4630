"""The pieces of the search: products in either storage, and a basis that grows in place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from loralathe.lowrank.rangefinder import STRIP, block_lanczos, rows_times, times_columns
from lowrank.matrices import generator, normal


def stored(A: Tensor, storage: str) -> Tensor:
    """The same numbers row by row, column by column, or with gaps."""
    if storage == "columns":
        return A.T.contiguous().T
    return A.repeat_interleave(2, 1)[:, ::2] if storage == "gaps" else A


@pytest.mark.parametrize("storage", ["rows", "columns", "gaps"])
@pytest.mark.parametrize("shape", [(STRIP + 7, 300), (300, STRIP + 7), (5, 900), (200, 200)], ids=str)
def test_products_do_not_depend_on_storage(shape: tuple[int, int], storage: str) -> None:
    A = normal(*shape)
    rows, columns = normal(9, shape[0], seed=1), normal(shape[1], 9, seed=2)
    held = stored(A.float(), storage)
    for got, exact in (
        (rows_times(rows.float(), held), rows @ A),
        (times_columns(held, columns.float()), A @ columns),
    ):
        torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("most", [None, 40, 64])
def test_a_projection_is_orthonormal_and_later_steps_leave_it_alone(most: int | None) -> None:
    A = normal(96, 150).float()
    seen = []
    for projection in block_lanczos(A, 16, generator(0), most):
        seen.append((projection, projection.Q.clone(), projection.B.clone(), projection.gram.clone()))
    assert seen[-1][0].Q.shape[1] == (most or 96)
    for projection, Q, B, gram in seen:
        assert torch.equal(projection.Q, Q)
        assert torch.equal(projection.B, B)
        assert torch.equal(projection.gram, gram)
        torch.testing.assert_close(Q.T @ Q, torch.eye(Q.shape[1]), rtol=0, atol=2e-6)
        torch.testing.assert_close(B, Q.T @ A, rtol=0, atol=1e-4)
        torch.testing.assert_close(gram, B.double() @ B.double().T, rtol=1e-9, atol=1e-9)
        values, vectors = projection.ritz
        torch.testing.assert_close(gram @ vectors, vectors * values, rtol=0, atol=1e-9 * float(values[0]))
