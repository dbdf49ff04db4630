"""diffusers, transformers and accelerate, which carry no usable types, reached through one door."""

from __future__ import annotations

import importlib
import os
from typing import Any

from loralathe.errors import MachineError

# No network is ever asked for anything; this also stops libraries that would ask by themselves.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")


def library(name: str) -> Any:
    """An optional package or one of its modules. MachineError says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MachineError(
            f"rendering needs the package '{name.split('.', maxsplit=1)[0]}'",
            where=str(error),
            fix="pip install 'loralathe[render]'",
        ) from error
