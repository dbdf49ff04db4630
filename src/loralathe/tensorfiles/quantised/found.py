"""What is quantised in a file: its tensors as they are read, and those that belong to others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loralathe.tensorfiles.header import Header, TensorInfo
from loralathe.tensorfiles.quantised.coding import Coding


@dataclass(frozen=True)
class Layer:
    """One quantised weight as it is read. parts: tensors that are read with it;  unused: those not needed."""

    info: TensorInfo | None
    coding: Coding | None
    parts: tuple[str, ...]
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quantised:
    """A file with quantised tensors.

    header:  as it is read: no scales, and every weight under its own name and shape
    codings: name → how its numbers are made
    parts:   tensors that are read with the weights that they belong to
    unused:  scales of activations, which no weight needs
    """

    header: Header
    codings: Mapping[str, Coding]
    parts: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
