"""Adapters at run time: low-rank updates beside untouched weights, a strength for every image of a batch."""

from loralathe.rendering.runtime.batch import RowShares, Share, applied, terms_of_batch
from loralathe.rendering.runtime.loaded import LoadedAdapter

__all__ = ["LoadedAdapter", "RowShares", "Share", "applied", "terms_of_batch"]
