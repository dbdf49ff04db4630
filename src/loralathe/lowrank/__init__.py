"""Pure functions on tensors: singular values, ranks, budgets, rounding noise, algebra of factors.

Matrices are (out, in), fp32 or fp64, on any device. Importing this package imports torch.
"""

from loralathe.lowrank.budget import Allocation, KnapsackItem, allocate_bytes, allocate_energy
from loralathe.lowrank.factors import (
    Factors,
    compress,
    concatenate,
    cosine,
    dense,
    dense_factors,
    factors_energy,
    flatten_tucker,
    hadamard_factors,
    inner,
    kronecker_factors,
    thin_pair,
    tucker_matrix,
)
from loralathe.lowrank.noise import (
    FLOAT_FORMATS,
    absolute_rounding,
    relative_rounding,
    rounding_noise_energy,
    rounding_noise_sigma,
    rounding_rms,
)
from loralathe.lowrank.ranks import (
    ARITHMETIC_ROUNDING,
    NOISE_EDGE,
    RankChoice,
    RuleKind,
    choose_rank,
    nuclear_norm,
    rank_by,
)
from loralathe.lowrank.svd import (
    SVD,
    Overlap,
    compare_directions,
    energy,
    exact_svd,
    factored_svd,
    randomized_svd,
    split_sqrt,
    subspace_overlap,
)

__all__ = [
    "ARITHMETIC_ROUNDING", "FLOAT_FORMATS", "NOISE_EDGE", "SVD", "Allocation", "Factors", "KnapsackItem",
    "Overlap", "RankChoice", "RuleKind", "absolute_rounding", "allocate_bytes", "allocate_energy",
    "choose_rank", "compare_directions", "compress", "concatenate", "cosine", "dense", "dense_factors",
    "energy", "exact_svd", "factored_svd", "factors_energy", "flatten_tucker", "hadamard_factors", "inner",
    "kronecker_factors", "nuclear_norm", "randomized_svd", "rank_by", "relative_rounding",
    "rounding_noise_energy", "rounding_noise_sigma", "rounding_rms", "split_sqrt", "subspace_overlap",
    "thin_pair", "tucker_matrix",
]  # fmt: skip
