"""Pure functions on tensors: randomized SVD, rank policies, noise floor, algebra of factors.

Matrices are (out, in), fp32 or fp64, on any device. Importing this room imports torch.
"""

from .factors import Factors, compress, concatenate, cosine, dense, factors_energy, flatten_tucker, inner
from .noise import (
    absolute_rounding,
    relative_rounding,
    rounding_noise_energy,
    rounding_noise_sigma,
    rounding_rms,
)
from .overlap import Overlap, compare_directions, principal_angles, subspace_overlap
from .ranks import RankChoice, choose_rank, kept_energy, relative_error
from .svd import SVD, energy, exact_svd, factored_svd, randomized_svd, split_sqrt

__all__ = [
    "SVD",
    "Factors",
    "Overlap",
    "RankChoice",
    "absolute_rounding",
    "choose_rank",
    "compare_directions",
    "compress",
    "concatenate",
    "cosine",
    "dense",
    "energy",
    "exact_svd",
    "factored_svd",
    "factors_energy",
    "flatten_tucker",
    "inner",
    "kept_energy",
    "principal_angles",
    "randomized_svd",
    "relative_error",
    "relative_rounding",
    "rounding_noise_energy",
    "rounding_noise_sigma",
    "rounding_rms",
    "split_sqrt",
    "subspace_overlap",
]
