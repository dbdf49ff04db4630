"""Check a file against the recipe recorded in it, and make it again from that recipe.

Tensors are computed again in float64 from the formulas themselves: `linear` reads a formula at one place of
the model, `reference` gives its numbers; neither knows the engine's expressions, bands or fused sums. The
engine's own result is compared, too, bit for bit (`replay`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.lazy import lazy_names

if TYPE_CHECKING:
    from loralathe.verification.facts import BlockCheck, Verification, VerifyOptions
    from loralathe.verification.from_record import find_inputs, rebuild, record_as_toml
    from loralathe.verification.verify import verify_file

_HOMES = {
    "facts": ("BlockCheck", "Verification", "VerifyOptions"),
    "from_record": ("find_inputs", "rebuild", "record_as_toml"),
    "verify": ("verify_file",),
}

__all__ = [
    "BlockCheck", "Verification", "VerifyOptions", "find_inputs", "rebuild", "record_as_toml", "verify_file",
]  # fmt: skip

__getattr__ = lazy_names(__name__, _HOMES)
