"""The functions of the formula language, a file each: parameters, what a call is, mathematics, reference.

A file is found because it is in this folder; its `FUNCTIONS` lists the functions that it defines. Importing
them does not import torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from loralathe.language.function import Function


@cache
def functions() -> Mapping[str, Function]:
    """Name → function, of all files in this folder."""
    files = sorted(info.name for info in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in files]
    return MappingProxyType({function.name: function for module in modules for function in module.FUNCTIONS})
