"""How long a step took the last time, remembered beside the hashes: by model, device, dtype and size."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loralathe.errors import InputError, MachineError
from loralathe.tensorfiles import cache_folder, read_text, write_whole

FILE = "rates.json"


@dataclass(frozen=True)
class Rate:
    """Seconds for a step of one picture, without decoding; size: at which it was measured."""

    seconds: float
    size: str


def model_key(family: str, numbers: int, device: str, dtype: str, *, low_vram: bool = False) -> str:
    """What rates are remembered under; numbers: of the U-Net, for small models of a family are quick."""
    return f"{family} {numbers:.3g} {device} {dtype}{' low_vram' if low_vram else ''}"


def remember_rate(model: str, size: tuple[int, int], seconds: float) -> None:
    """Where nothing can be written this does nothing."""
    if (file := _file()) is None:
        return
    found = _read(file)
    found.setdefault(model, {})[_text(size)] = seconds
    with suppress(MachineError):
        write_whole(file, json.dumps(found, indent=1).encode())


def known_rate(model: str, size: tuple[int, int]) -> Rate | None:
    """At this size, else at the nearest, by pixels; None where no picture of such a model was made yet."""
    file = _file()
    rates = _read(file).get(model, {}) if file else {}
    pixels = size[0] * size[1]
    near = min(rates, key=lambda text: abs(_pixels(text) - pixels), default=None)
    if near is None:
        return None
    return Rate(rates[near] * pixels / _pixels(near), near)


def _file() -> Path | None:
    folder = cache_folder()
    return folder / FILE if folder else None


def _read(file: Path) -> dict[str, dict[str, float]]:
    """What is remembered; nothing where the file is absent or damaged."""
    try:
        found = json.loads(read_text(file, "JSON file"))
        return {
            str(model): {size: float(seconds) for size, seconds in rates.items() if _pixels(size) > 0}
            for model, rates in found.items()
        }
    except (InputError, ValueError, AttributeError, TypeError, RecursionError):
        return {}


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _pixels(text: str) -> int:
    width, _, height = text.partition("×")
    return int(width) * int(height)
