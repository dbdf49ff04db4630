"""The randomized SVD against known spectra: how near the optimum, and that nothing odd breaks it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from loralathe.lowrank import SVD, energy, randomized_svd
from lowrank.matrices import normal, power_law, with_singular_values

SHAPES = [(320, 320), (640, 640), (1280, 640), (320, 2880)]


def error(A: Tensor, svd: SVD) -> float:
    U, S, Vh = (part.double() for part in svd)
    return float((A - (U * S) @ Vh).norm())


def excess(A: Tensor, values: Tensor, rank: int, **options: int) -> float:
    """Frobenius error over the optimum of Eckart and Young, minus 1."""
    return error(A, randomized_svd(A.float(), rank, **options)) / float(values[rank:].norm()) - 1


@pytest.mark.quick(6)
@pytest.mark.parametrize("exponent", [0.5, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_decaying_spectra_are_within_two_permille_of_the_optimum(
    shape: tuple[int, int], exponent: float
) -> None:
    A, values = power_law(*shape, exponent)
    for rank in (4, 16, 32, 64, 128):
        assert excess(A, values, rank) <= 0.002, rank


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_white_noise_is_within_one_percent_of_the_optimum(shape: tuple[int, int]) -> None:
    A = normal(*shape)
    values = torch.linalg.svdvals(A)
    for rank in (4, 16, 64, 128):
        assert excess(A, values, rank) <= 0.01, rank


@pytest.mark.slow
@pytest.mark.parametrize("exponent", [0.5, 0.7, 1.0, 2.0])
@pytest.mark.parametrize(
    "shape", [(1280, 1280), (1280, 2048), (5120, 640), (1280, 5120), (10240, 1280)], ids=str
)
def test_decaying_spectra_of_the_large_layers(shape: tuple[int, int], exponent: float) -> None:
    A, values = power_law(*shape, exponent)
    for rank in (4, 16, 32, 64, 128):
        assert excess(A, values, rank) <= 0.002, rank


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1280, 1280), (5120, 640), (1280, 5120), (1280, 11520)], ids=str)
def test_white_noise_of_the_large_layers(shape: tuple[int, int]) -> None:
    A = normal(*shape)
    values = torch.linalg.svdvals(A)
    for rank in (4, 16, 64, 128):
        assert excess(A, values, rank) <= 0.01, rank


@pytest.mark.parametrize("seed", range(8))
def test_no_seed_is_unlucky(seed: int) -> None:
    A, values = power_law(256, 384, 0.5)
    assert excess(A, values, 16, seed=seed) <= 0.002


def test_singular_triplets_match_lapack() -> None:
    A, values = power_law(300, 500, 1.0)
    U, S, Vh = randomized_svd(A.float(), 20)
    torch.testing.assert_close(S.double(), values[:20], rtol=2e-4, atol=0)
    eye = torch.eye(20)
    torch.testing.assert_close(U.T @ U, eye, rtol=0, atol=2e-5)
    torch.testing.assert_close(Vh @ Vh.T, eye, rtol=0, atol=2e-5)
    peaks = U.abs().argmax(0) if U.shape[0] <= Vh.shape[1] else Vh.abs().argmax(1)
    assert bool((U.gather(0, peaks[None]) > 0).all())


@pytest.mark.parametrize("magnitude", [1e-36, 1e-30, 1e-8, 1.0, 1e8, 1e30])
def test_magnitude_does_not_matter(magnitude: float) -> None:
    A, values = power_law(200, 300, 1.0)
    assert excess(A * magnitude, values * magnitude, 10) <= 0.002


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (20, 500), (1, 7), (7, 1)], ids=str)
def test_zeros_have_no_triplets(shape: tuple[int, int]) -> None:
    U, S, Vh = randomized_svd(torch.zeros(shape), 8)
    assert U.shape == (shape[0], 0)
    assert S.shape == (0,)
    assert Vh.shape == (0, shape[1])


@pytest.mark.parametrize("rank", [1, 3, 16, 40])
@pytest.mark.parametrize("shape", [(300, 400), (500, 256), (40, 1000)], ids=str)
def test_exactly_low_rank_is_recovered_whole(shape: tuple[int, int], rank: int) -> None:
    A = with_singular_values(torch.linspace(2, 1, rank), *shape)
    svd = randomized_svd(A.float(), 64)
    assert rank <= len(svd.S) <= min(64, *shape)
    assert error(A, svd) <= 3e-6 * float(A.norm())
    assert float(svd.S[rank:].sum()) <= 1e-4 * float(svd.S[0])


@pytest.mark.parametrize(
    "A",
    [
        torch.ones(400, 500),
        torch.eye(400, 500),
        torch.diag(torch.tensor([1.0] * 5 + [0.0] * 395)),
        torch.cat([torch.zeros(399, 600), torch.ones(1, 600)]),
        torch.cat([normal(50, 300), normal(50, 300), normal(300, 300, seed=1) * 1e-7]).float(),
    ],
    ids=["ones", "identity", "five ones", "one row", "repeated rows"],
)
def test_awkward_matrices_stay_finite_and_optimal(A: Tensor) -> None:
    rank = 60
    svd = randomized_svd(A, rank)
    assert all(bool(part.isfinite().all()) for part in svd)
    best = float(torch.linalg.svdvals(A.double())[rank:].norm())
    assert error(A.double(), svd) <= 1.01 * best + 1e-5 * float(A.norm())


def test_the_result_is_a_function_of_the_seed() -> None:
    A = normal(200, 300).float()
    torch.manual_seed(5)
    first = randomized_svd(A, 16, seed=3)
    torch.manual_seed(6)
    again = randomized_svd(A, 16, seed=3)
    other = randomized_svd(A, 16, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.U, other.U)


def test_the_callers_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    randomized_svd(normal(200, 300).float(), 4)
    assert torch.equal(before, torch.get_rng_state())


def test_a_transposed_matrix_has_the_transposed_decomposition() -> None:
    A = normal(200, 300).float()
    U, S, Vh = randomized_svd(A, 8)
    flipped = randomized_svd(A.T, 8)
    torch.testing.assert_close(flipped.S, S)
    torch.testing.assert_close((flipped.U * flipped.S) @ flipped.Vh, ((U * S) @ Vh).T, atol=1e-4, rtol=1e-4)


def test_a_noise_floor_ends_the_search_early() -> None:
    signal = with_singular_values(torch.full((8,), 100.0), 512, 512)
    A = (signal + normal(512, 512)).float()
    floor = 2 * 512**0.5 * 1.02
    quick, full = randomized_svd(A, 8, floor=floor), randomized_svd(A, 8)
    torch.testing.assert_close(quick.S, full.S, rtol=1e-3, atol=0)


@pytest.mark.parametrize("bad", [torch.zeros(4), torch.zeros(4, 4, dtype=torch.float16)])
def test_other_tensors_are_refused(bad: Tensor) -> None:
    with pytest.raises(TypeError, match="2-D float32 or float64"):
        randomized_svd(bad, 2)


def test_energy_is_summed_in_float64() -> None:
    A = torch.full((300, 3000), 1e-3, dtype=torch.float16)
    expected = float(A.double().square().sum())
    assert energy(A) == pytest.approx(expected, rel=1e-12)
    assert energy(A.float().T) == pytest.approx(expected, rel=1e-12)
    assert energy(torch.zeros(0, 5)) == 0.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu() -> None:
    A, values = power_law(640, 1280, 0.7)
    on_gpu = randomized_svd(A.float().cuda(), 32)
    torch.testing.assert_close(on_gpu.S.cpu(), randomized_svd(A.float(), 32).S, rtol=1e-4, atol=0)
    assert error(A, SVD(*(part.cpu() for part in on_gpu))) <= 1.002 * float(values[32:].norm())
