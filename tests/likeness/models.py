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


STRIDES = (8, 16, 32)
FIVE = np.array([[-0.6, -0.5], [0.6, -0.5], [0.0, 0.1], [-0.5, 0.7], [0.5, 0.7]])
"""Eyes, nose and corners of the mouth around the middle of a face, in strides."""


def detector(path: Path, kind: str, side: int | str = 640, *, half: float = 1.5) -> Path:
    """A detector with the inputs and outputs of `kind`, 'yunet' or 'scrfd', for faces in one colour.

    A place of a stride scores by how red it is (red 255 and no green or blue gives 1), less what its
    neighbours have: larger faces are not seen. Its box reaches `half` strides to every side of the place's
    middle, its points lie as FIVE says.
    """
    yunet = kind == "yunet"
    red = 2 if yunet else 0  # YuNet reads BGR
    weight = np.full((1, 3, 1, 1), -1.0, np.float32)
    weight[0, red] = 1
    # Back to 0..1 from what this kind is fed: 0 to 255, or (x − 127.5) / 128.
    scale, move = (1 / 255, 0.0) if yunet else (128 / 255, -0.5)
    alone = np.full((1, 1, 3, 3), -1, np.float32)
    alone[0, 0, 1, 1] = 1
    nodes, outputs = [], {}
    constants = {
        "w": weight * np.float32(scale),
        "b": np.array([move], np.float32),
        "zero": np.float32(0),
        "alone": alone,
    }
    constants |= {"row": np.array([1, -1, 1] if yunet else [-1, 1], np.int64)}
    if not yunet:
        # Of two anchors at a place, the second never finds anything.
        constants["pair"] = np.array([[[1.0, 0.0]]], np.float32)
        constants["column"] = np.array([1, -1, 1], np.int64)

    def scores(stride: int, name: str) -> None:
        pooled, told, line = f"{name}p", f"{name}c", f"{name}l"
        nodes.append(
            helper.make_node("AveragePool", ["x"], [pooled], kernel_shape=[stride] * 2, strides=[stride] * 2)
        )
        nodes.append(helper.make_node("Conv", [pooled, "w", "b"], [told]))
        nodes.append(helper.make_node("Relu", [told], [f"{name}a"]))
        nodes.append(helper.make_node("Conv", [f"{name}a", "alone"], [f"{name}n"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"{name}n"], [f"{name}r"]))
        if yunet:
            nodes.append(helper.make_node("Reshape", [f"{name}r", "row"], [name]))
        else:
            nodes.append(helper.make_node("Reshape", [f"{name}r", "column"], [line]))
            nodes.append(helper.make_node("Mul", [line, "pair"], [f"{name}m"]))
            nodes.append(helper.make_node("Reshape", [f"{name}m", "row"], [name]))

    def fixed(name: str, like: str, values: np.ndarray) -> None:
        """`values` at every place: added to the scores times 0, so that the number of places is theirs."""
        constants[f"{name}v"] = values.astype(np.float32).reshape((1, 1, -1) if yunet else (1, -1))
        nodes.append(helper.make_node("Mul", [like, "zero"], [f"{name}z"]))
        nodes.append(helper.make_node("Add", [f"{name}z", f"{name}v"], [name]))

    middle = 0.5  # of a place, in strides from its corner
    if yunet:
        box, points = np.array([middle, middle, *[np.log(2 * half)] * 2]), FIVE + middle
    else:
        box, points = np.array([half - middle, half - middle, half + middle, half + middle]), FIVE + middle
    wide = {"score": 1, "cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    for part in ("cls", "obj", "bbox", "kps") if yunet else ("score", "bbox", "kps"):
        for stride in STRIDES:
            name, first = f"{part}_{stride}", f"{'cls' if yunet else 'score'}_{stride}"
            if part in ("cls", "score", "obj"):
                scores(stride, name)
            else:
                fixed(name, first, box if part == "bbox" else points)
            outputs[name] = ["b", "n", wide[part]] if yunet else ["n", wide[part]]
    order = [name for part in wide for name in outputs if name.startswith(f"{part}_")]
    shapes = {
        name: [f"{name}{i}" if isinstance(d, str) else d for i, d in enumerate(outputs[name])]
        for name in order
    }
    return save(path, nodes, {"x": [1, 3, side, side]}, shapes, constants)
