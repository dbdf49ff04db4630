"""Tiny ONNX models that the tests build: with the true layouts of inputs and outputs, and answers one can
compute.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(path: Path, nodes: list[onnx.NodeProto], inputs: dict, outputs: dict, constants: dict) -> Path:
    """A model of float32 inputs and outputs, name → shape, and constants, name → array."""

    def told(shapes: dict) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in shapes.items()]

    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", told(inputs), told(outputs), held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def mean_colour(path: Path, side: int = 8, *, batch: int | str = "n") -> Path:
    """(n, 3, side, side) to (n, 3): the mean of each channel."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["m"]),
        helper.make_node("Flatten", ["m"], ["y"]),
    ]
    return save(path, nodes, {"x": [batch, 3, side, side]}, {"y": [batch, 3]}, {})


def pixels(path: Path, side: int = 4, *, last: bool = False) -> Path:
    """The picture itself as a vector, (n, 3, side, side) or (n, side, side, 3) to (n, 3 · side²)."""
    shape = [side, side, 3] if last else [3, side, side]
    node = helper.make_node("Flatten", ["x"], ["y"])
    return save(path, [node], {"x": ["n", *shape]}, {"y": ["n", 3 * side * side]}, {})
