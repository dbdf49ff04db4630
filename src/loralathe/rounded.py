"""Numbers as people read them: rounded, and never -0.

What rounds to nothing has no sign: "-0.0 points" and "-0 %" say that something fell, and nothing did.
"""

from __future__ import annotations

__all__ = ["fixed", "percentage", "points", "signed", "signed_points"]


def fixed(value: float, digits: int) -> str:
    """So many decimals: `0.5`, `-1.20`, `0.0`."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def signed(value: float, digits: int) -> str:
    """A difference: `+0.5`, `-1.2`, `0.0`."""
    shown = fixed(value, digits)
    return f"+{shown}" if float(shown) > 0 else shown


def points(share: float) -> str:
    """A share in points of 100: `95.1`."""
    return fixed(100 * share, 1)


def signed_points(share: float) -> str:
    """A difference of shares in points of 100: `+1.5`, `-0.3`, `0.0`."""
    return signed(100 * share, 1)


def percentage(share: float, digits: int = 0) -> str:
    """`57 %`, `99.9 %`."""
    return f"{fixed(100 * share, digits)} %"
