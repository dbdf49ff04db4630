"""Adapters at run time: low-rank updates beside untouched weights, a strength for every image of a batch."""

from loralathe.rendering.runtime.batch import (
    Fitting,
    Presets,
    RowShares,
    Share,
    Terms,
    share_of,
    strength_of,
    terms_of_batch,
)
from loralathe.rendering.runtime.loaded import LoadedAdapter

__all__ = [
    "Fitting", "LoadedAdapter", "Presets", "RowShares", "Share", "Terms", "share_of", "strength_of",
    "terms_of_batch",
]  # fmt: skip
