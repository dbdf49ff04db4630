"""loralathe's nodes for ComfyUI. This folder is copied into `custom_nodes`: `lathe install comfyui DIR`.

It computes nothing: every node calls `loralathe`, which stands in ComfyUI's Python.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

try:
    import loralathe
except ImportError as error:
    raise ImportError("loralathe is not in ComfyUI's Python: python -m pip install loralathe") from error

from .extension import comfy_entrypoint

__all__ = ["comfy_entrypoint"]


def _own_version() -> str:
    """Of this folder: it may be older than the loralathe beside it."""
    said = re.search(
        r'^version = "(.+)"', (Path(__file__).parent / "pyproject.toml").read_text("utf-8"), re.M
    )
    return said[1] if said else ""


if (version := _own_version()) != loralathe.__version__:
    logging.getLogger("loralathe").warning(
        "these nodes are of version %s, loralathe is %s: lathe install comfyui DIR --force renews them",
        version,
        loralathe.__version__,
    )
