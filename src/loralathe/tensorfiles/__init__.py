"""Bytes on disk, with no knowledge of models: safetensors headers, positional reads, atomic writers, hashes.

Importing this room imports neither torch nor numpy; only `TensorFile.read` and the torch dtype functions do.
"""

from loralathe.tensorfiles.checkpoint_writer import CheckpointWriter
from loralathe.tensorfiles.dtypes import DTYPES, DType, from_torch_dtype, tensor_bytes, to_torch_dtype
from loralathe.tensorfiles.header import Header, TensorInfo, TensorSpec, in_file_order
from loralathe.tensorfiles.outputs import check_output, free_space, same_file
from loralathe.tensorfiles.reader import TensorFile, open_tensorfile, read_header

__all__ = [
    "DTYPES",
    "CheckpointWriter",
    "DType",
    "Header",
    "TensorFile",
    "TensorInfo",
    "TensorSpec",
    "check_output",
    "free_space",
    "from_torch_dtype",
    "in_file_order",
    "open_tensorfile",
    "read_header",
    "same_file",
    "tensor_bytes",
    "to_torch_dtype",
]
