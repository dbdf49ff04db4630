"""Pure functions on tensors: randomized SVD, rank policies, noise floor, algebra of factors.

Matrices are (out, in), fp32 or fp64, on any device. Importing this room imports torch.
"""

from loralathe.lowrank.budget import (
    Allocation,
    KnapsackItem,
    allocate_bytes,
    allocate_energy,
)
from loralathe.lowrank.factors import (
    Factors,
    compress,
    concatenate,
    cosine,
    dense,
    factors_energy,
    flatten_tucker,
    inner,
)
from loralathe.lowrank.noise import (
    absolute_rounding,
    relative_rounding,
    rounding_noise_energy,
    rounding_noise_sigma,
    rounding_rms,
)
from loralathe.lowrank.overlap import (
    Overlap,
    compare_directions,
    principal_angles,
    subspace_overlap,
)
from loralathe.lowrank.policies import (
    RULE_KINDS,
    RuleKind,
    nuclear_norm,
    rank_by,
)
from loralathe.lowrank.products import (
    dense_factors,
    hadamard_factors,
    kronecker_factors,
    thin_pair,
    tucker_matrix,
)
from loralathe.lowrank.ranks import (
    RankChoice,
    choose_rank,
    kept_energy,
    relative_error,
)
from loralathe.lowrank.svd import (
    SVD,
    energy,
    exact_svd,
    factored_svd,
    randomized_svd,
    split_sqrt,
)

__all__ = [
    "RULE_KINDS",
    "SVD",
    "Allocation",
    "Factors",
    "KnapsackItem",
    "Overlap",
    "RankChoice",
    "RuleKind",
    "absolute_rounding",
    "allocate_bytes",
    "allocate_energy",
    "choose_rank",
    "compare_directions",
    "compress",
    "concatenate",
    "cosine",
    "dense",
    "dense_factors",
    "energy",
    "exact_svd",
    "factored_svd",
    "factors_energy",
    "flatten_tucker",
    "hadamard_factors",
    "inner",
    "kept_energy",
    "kronecker_factors",
    "nuclear_norm",
    "principal_angles",
    "randomized_svd",
    "rank_by",
    "relative_error",
    "relative_rounding",
    "rounding_noise_energy",
    "rounding_noise_sigma",
    "rounding_rms",
    "split_sqrt",
    "subspace_overlap",
    "thin_pair",
    "tucker_matrix",
]
