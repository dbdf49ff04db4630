"""Alphas: of a tensor beside the factors, or as PEFT and diffusers note them.

* kohya and LyCORIS write a tensor `alpha` of one element. It is read without torch, so that looking into an
  adapter stays light.
* diffusers writes the metadata `lora_adapter_metadata`: JSON of PEFT's LoraConfig, each key behind its
  network's folder (`unet.lora_alpha`, `text_encoder.alpha_pattern`).
* PEFT itself writes `adapter_config.json` into the folder of the file.

A LoRA with neither has alpha = rank, as diffusers reads it.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loralathe.errors import InputError
from loralathe.tensorfiles import TensorFile, TensorInfo

_FORMATS = {
    "F64": "<d", "F32": "<f", "F16": "<e",
    "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b",
    "U64": "<Q", "U32": "<I", "U16": "<H", "U8": "<B",
}  # fmt: skip
TAG = "lora_adapter_metadata"
CONFIG = "adapter_config.json"
WRAPPER = "base_model.model."
"""How PEFT's own files start the names of all modules."""
MOST = 1 << 20
"""Bytes of an adapter_config.json that is one."""


def read_alpha(file: TensorFile, info: TensorInfo) -> float:
    """The alpha of a module. Raises InputError for anything but one finite number other than 0."""
    if info.numel != 1:
        raise InputError(
            f"alpha has shape {list(info.shape)}; it should be one number",
            where=f"{file.path}, tensor '{info.name}'",
        )
    alpha = read_scalar(file, info)
    if not math.isfinite(alpha) or alpha == 0:
        raise InputError(
            f"alpha is {alpha:g}, so the module has no usable scale",
            where=f"{file.path}, tensor '{info.name}'",
            fix="alpha is a finite number other than 0; the training or its save went wrong",
        )
    return alpha


def read_scalar(file: TensorFile, info: TensorInfo) -> float:
    """The value of a tensor with one element, shape [] or [1], as a Python float."""
    data = bytearray(info.nbytes)
    file.readinto(info, memoryview(data))
    if info.dtype == "BF16":  # the upper half of a float32
        return float(struct.unpack("<f", b"\0\0" + data)[0])
    layout = _FORMATS.get(info.dtype)
    if layout is None:
        return float(file.read(info.name).item())
    return float(struct.unpack(layout, data)[0])


@dataclass(frozen=True)
class Noted:
    """A LoraConfig as far as scales go.

    alpha:    of modules that no pattern names, None if there is none
    patterns: end of a module's path, as a regular expression → its alpha
    rooted:   rsLoRA: alpha / √rank instead of alpha / rank (Kalajdzievski 2023)
    """

    alpha: float | None = None
    patterns: Mapping[str, float] = field(default_factory=dict, hash=False)
    rooted: bool = False

    def alpha_of(self, path: str) -> float | None:
        """PEFT takes the first pattern that the path ends with, from the start of a name on."""
        for pattern, alpha in self.patterns.items():
            if re.fullmatch(rf"(?:.*\.)?(?:{pattern})", path):
                return alpha
        return self.alpha


NOTHING = Noted()


@dataclass(frozen=True)
class Alphas:
    """The notes of a whole file: folder of a network ('unet', 'text_encoder') → its config; '': any other."""

    configs: Mapping[str, Noted] = field(hash=False)

    def alpha_of(self, raw_name: str, rank: int) -> float | None:
        """alpha such that alpha / rank is the trainer's scale; None where nothing is noted."""
        name = raw_name.removeprefix(WRAPPER)
        folder, _, path = name.partition(".")
        noted = self.configs.get(folder)
        if noted is None:
            noted, path = self.configs.get("", NOTHING), name
        alpha = noted.alpha_of(path)
        return alpha * math.sqrt(rank) if alpha is not None and noted.rooted else alpha


def read_noted_alphas(file: TensorFile, raw_names: Iterable[str]) -> Alphas:
    """Raises InputError for notes that cannot be read: a scale that is guessed would change the result."""
    if TAG in file.header.metadata:
        return _of_metadata(file)
    beside = file.path.with_name(CONFIG)
    wrapped = any(name.startswith(WRAPPER) for name in raw_names)
    if wrapped and file.format != "memory" and beside.is_file():
        return _of_config(beside)
    return Alphas({})


def _of_metadata(file: TensorFile) -> Alphas:
    where = f"{file.path}, metadata {TAG}"
    found = _parsed(file.header.metadata[TAG], where)
    folders = {key.partition(".")[0] for key in found if "." in key}
    configs = {folder: _config(found, f"{folder}.", where) for folder in sorted(folders)}
    return Alphas({"": _config(found, "", where), **configs})


def _of_config(path: Path) -> Alphas:
    try:
        if path.stat().st_size > MOST:
            raise ValueError("it is too large")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _unreadable(str(path), str(error)) from error
    return Alphas({"": _config(_parsed(text, str(path)), "", str(path))})


def _parsed(text: str, where: str) -> Mapping[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _unreadable(where, reason) from error
    if not isinstance(found, dict):
        raise _unreadable(where, "it is not a table of names")
    return found


def _config(found: Mapping[str, object], prefix: str, where: str) -> Noted:
    alpha, patterns = found.get(f"{prefix}lora_alpha"), found.get(f"{prefix}alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise _unreadable(where, "alpha_pattern is not a table")
    return Noted(
        None if alpha is None else _number(alpha, where),
        {_pattern(name, where): _number(value, where) for name, value in patterns.items()},
        found.get(f"{prefix}use_rslora") is True,
    )


def _pattern(name: object, where: str) -> str:
    """PEFT's patterns are regular expressions, in practice plain paths; nothing else is run as one."""
    if not isinstance(name, str) or not re.fullmatch(r"\^?[\w.]+\$?", name, re.ASCII):
        raise _unreadable(where, f"alpha_pattern {name!r:.80} is not the path of a module")
    return name.strip("^$")


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _unreadable(where, f"alpha {value!r:.80} is not a number")
    try:
        alpha = float(value)
    except OverflowError:
        alpha = math.inf
    if not math.isfinite(alpha) or alpha == 0:
        raise _unreadable(where, f"alpha {alpha:g} gives no usable scale")
    return alpha


def _unreadable(where: str, reason: str) -> InputError:
    return InputError(
        f"the notes with this LoRA's alpha cannot be read: {reason}",
        where=where,
        fix="save the LoRA again with its trainer; without these notes its strength would be guessed",
    )
