"""Numbers and lists as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from loralathe.errors import readable

BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB")
COUNT_UNITS = ("", " thousand", " million", " billion")
DTYPES = {"F16": "fp16", "BF16": "bf16", "F32": "fp32", "F64": "fp64"}


def size(count: float) -> str:
    """`6.94 GB`: bytes in powers of 1000, as disks are sold."""
    for unit in BYTE_UNITS:
        if count < 999.5 or unit == BYTE_UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000.0
    raise AssertionError


def amount(count: float) -> str:
    """`3.47 billion`."""
    for unit in COUNT_UNITS:
        if count < 999.5 or unit == COUNT_UNITS[-1]:
            return f"{count:.3g}{unit}" if unit else f"{count:.0f}"
        count /= 1000.0
    raise AssertionError


def plural(count: int, word: str) -> str:
    """`1 tensor`, `2,515 tensors`."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def figures(value: float, digits: int = 3) -> str:
    """`0.0140`, `8.24`, `102`: so many significant digits, zeros at the end kept."""
    return f"{value:#.{digits}g}".removesuffix(".")


def duration(seconds: float) -> str:
    """`0.8 s`, `42 s`, `3 min 5 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def percent(share: float) -> str:
    """`99.87`, `<0.01`, and `–` for nothing; of a share in [0, 1], without the sign."""
    if share <= 0.0:
        return "–"
    return "<0.01" if share < 5e-5 else f"{100 * share:.2f}"


def dtype_name(name: str) -> str:
    """`F16` → `fp16`; names without a common other word stay."""
    return DTYPES.get(name, name)


def dtype_shares(parameters: Mapping[str, int]) -> str:
    """`fp16`, `fp16 96 %, fp32 4 %`, or `fp16 and 77 × I64` where the rest is next to nothing."""
    total = sum(parameters.values()) or 1
    large = {name: count for name, count in parameters.items() if count / total >= 0.005}
    small = [f"{count:,} × {dtype_name(name)}" for name, count in parameters.items() if name not in large]
    shares = [f"{dtype_name(name)} {100 * count / total:.0f} %" for name, count in large.items()]
    main = dtype_name(next(iter(large))) if len(large) == 1 else ", ".join(shares)
    return " and ".join(part for part in (main, ", ".join(small)) if part)


def few(names: Iterable[str], shown: int = 3) -> str:
    """`a, b, c and 7 more`."""
    names = list(names)
    rest = len(names) - shown
    return readable(", ".join(names[:shown])) + (f" and {rest} more" if rest > 0 else "")


def counts(parts: Iterable[tuple[int, str]]) -> str:
    """`722 changed · 1793 copied`, zeros left out."""
    return " · ".join(f"{count} {word}" for count, word in parts if count) or "none"
