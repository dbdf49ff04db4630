"""GGUF files for tests, written by the `gguf` package, or byte by byte where they are damaged."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np
import torch

SHAPE = "comfy.gguf.orig_shape."


def write_gguf(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    types: Mapping[str, str] | None = None,
    default: str = "F32",
    architecture: str = "flux",
) -> Path:
    """As City96's converter writes: quantised by `types`, name → type; else as `default` says.

    Tensors whose rows are no whole blocks are stored in rows of 256, their shapes beside them; what is too
    small for that, and what has one axis, is stored as F32.
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_array("tokens", ["a", "bc"])  # what a reader must step over
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, tensor in tensors.items():
        kind = gguf.GGMLQuantizationType[(types or {}).get(name, default if tensor.ndim > 1 else "F32")]
        values = tensor.float().numpy()
        size = gguf.GGML_QUANT_SIZES[kind][0]
        if values.ndim and values.shape[-1] % size:
            if values.size % 256:
                kind = gguf.GGMLQuantizationType.F32
            else:
                writer.add_array(SHAPE + name, [int(axis) for axis in values.shape])
                values = values.reshape(-1, 256)
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def raw_gguf(
    entries: Sequence[bytes] = (),
    tensors: Sequence[tuple[str, Sequence[int], int, int]] = (),
    data: bytes = b"",
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """A file byte by byte: tensors are (name, axes from the fastest on, number of the type, offset)."""
    count = counts or (len(tensors), len(entries))
    head = b"GGUF" + struct.pack("<IQQ", version, *count) + b"".join(entries)
    for name, axes, number, offset in tensors:
        head += text(name) + struct.pack("<I", len(axes)) + struct.pack(f"<{len(axes)}Q", *axes)
        head += struct.pack("<IQ", number, offset)
    return head + bytes(-len(head) % 32) + data


def as_float64(raw: np.ndarray, kind: str) -> np.ndarray:
    """The published formula of a block type in float64; raw: (blocks, bytes of a block)."""
    half = lambda at: raw[:, at : at + 2].copy().view(np.float16).astype(np.float64)  # noqa: E731
    if kind == "Q8_0":
        return half(0) * raw[:, 2:].view(np.int8)
    if kind == "Q4_0":
        return half(0) * (np.concatenate([raw[:, 2:] & 15, raw[:, 2:] >> 4], 1).astype(np.float64) - 8)
    if kind == "Q4_1":
        return half(0) * np.concatenate([raw[:, 4:] & 15, raw[:, 4:] >> 4], 1) + half(2)
    if kind == "Q4_K":  # 8 runs of 32: scales and minima of 6 bits in 12 bytes
        six, codes = raw[:, 4:16].astype(np.int64), raw[:, 16:].reshape(-1, 4, 32)
        scales = np.concatenate([six[:, 0:4] & 63, (six[:, 8:12] & 15) | (six[:, 0:4] >> 6 << 4)], 1)
        minima = np.concatenate([six[:, 4:8] & 63, (six[:, 8:12] >> 4) | (six[:, 4:8] >> 6 << 4)], 1)
        runs = np.stack([codes & 15, codes >> 4], 2).reshape(-1, 8, 32).astype(np.float64)
        found = (half(0) * scales)[:, :, None] * runs - (half(2) * minima)[:, :, None]
        return found.reshape(len(raw), 256)
    raise ValueError(kind)
