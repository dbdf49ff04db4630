"""Adapters at run time: low-rank updates beside untouched weights, a strength for every image of a batch."""

from loralathe.rendering.runtime.batch import Fitting, RowShares, Share, terms_of_batch
from loralathe.rendering.runtime.loaded import LoadedAdapter

__all__ = ["Fitting", "LoadedAdapter", "RowShares", "Share", "terms_of_batch"]
