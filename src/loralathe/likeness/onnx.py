"""A session of onnxruntime on the CPU: a model opened, what it reads, and how it is run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from loralathe.errors import InputError, MachineError
from loralathe.tensorfiles import check_is_file

Values = NDArray[np.float32]


class OnnxInput(Protocol):
    """An input or an output of a model."""

    name: str
    shape: list[int | str | None]


class OnnxSession(Protocol):
    """The part of onnxruntime.InferenceSession that is used here."""

    def get_inputs(self) -> list[OnnxInput]: ...

    def get_outputs(self) -> list[OnnxInput]: ...

    def run(self, outputs: None, feed: dict[str, Values]) -> list[Values]: ...


def require_onnxruntime() -> ModuleType:
    """onnxruntime, or a MachineError that says how to get it."""
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise MachineError(
            "a model that recognises faces or characters needs onnxruntime",
            fix='pip install "loralathe[identity]"',
        ) from error


def check_model(path: Path, wanted: str) -> None:
    """InputError when `path` is no file (`wanted`: what to give instead); MachineError without
    onnxruntime.
    """
    check_is_file(path, wanted)
    require_onnxruntime()


def open_onnx(path: Path, wanted: str) -> OnnxSession:
    """The model at `path`; errors as `check_model`, and for files that are no ONNX model."""
    check_model(path, wanted)
    onnxruntime = require_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors are raised; its warnings are of graphs, and no person's to mend
    try:
        session: OnnxSession = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors share no narrower base class
        raise InputError(
            f"this ONNX model cannot be loaded: {first_line(error)}", where=str(path), fix=wanted
        ) from error
    return session


def run_onnx(session: OnnxSession, values: Values, where: str) -> list[Values]:
    """All outputs for one input; InputError when the model fails on it."""
    name = session.get_inputs()[0].name
    try:
        return session.run(None, {name: np.ascontiguousarray(values)})
    except Exception as error:  # as above
        raise InputError(
            f"the model cannot be run on a picture: {first_line(error)}",
            where=where,
            fix="give a model whose only input is a picture",
        ) from error


def run_in_batches(session: OnnxSession, batch: Values, where: str) -> Values:
    """The first output (n, d) of a batch, else the first output; one by one where the model's batch is fixed.

    Raises InputError unless it has a row for each picture.
    """
    fixed = session.get_inputs()[0].shape[0]
    parts = [batch[i : i + 1] for i in range(len(batch))] if isinstance(fixed, int) else [batch]
    outputs = [_rows(run_onnx(session, part, where)) for part in parts]
    fit = all(rows.ndim >= 2 and len(rows) == len(part) for rows, part in zip(outputs, parts, strict=True))
    if not fit:
        raise InputError(
            "the model does not answer with one vector for each picture",
            where=where,
            fix="give a model that recognises faces or characters, such as w600k_r50.onnx",
        )
    return np.concatenate([rows.reshape(len(rows), -1) for rows in outputs]).astype(np.float32)


def _rows(outputs: Sequence[Values]) -> Values:
    """An image encoder may give the states of all patches, too: what has a row for each picture is meant."""
    return next((output for output in outputs if output.ndim == 2), outputs[0])


def picture_side(session: OnnxSession, where: str, usual: int) -> tuple[int, bool]:
    """(pixels of the square that the model reads, whether channels come first); `usual` where it is open.

    Raises InputError for a model that reads no pictures.
    """
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    if len(shape) == 4 and 3 in (shape[1], shape[3]):
        first = shape[1] == 3
        sides = [side for side in (shape[2:] if first else shape[1:3]) if isinstance(side, int)]
        if len(set(sides)) <= 1 and all(0 < side <= 4096 for side in sides):
            return (sides[0] if sides else usual), first
    raise InputError(
        "the model reads no square colour pictures",
        where=f"{where}, its input has the shape {list(shape)}",
        fix="give a model whose input is a picture: (n, 3, s, s)",
    )


def first_line(error: BaseException) -> str:
    """What an error of another library says, in a line."""
    lines: Sequence[str] = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
