"""Bytes on disk, with no knowledge of models: safetensors headers, positional reads, atomic writers, hashes.

Importing this room imports neither torch nor numpy; only `TensorFile.read` and the torch dtype functions do.
"""

from loralathe.tensorfiles.adapter_writer import AdapterWriter, adapter_file_size
from loralathe.tensorfiles.checkpoint_writer import CheckpointWriter
from loralathe.tensorfiles.dtypes import DTYPES, DType, from_torch_dtype, tensor_bytes, to_torch_dtype
from loralathe.tensorfiles.hash_cache import cache_folder
from loralathe.tensorfiles.hashes import autov1, autov2, content_hash, legacy_hash, model_hash
from loralathe.tensorfiles.header import Header, TensorInfo, TensorSpec, in_file_order
from loralathe.tensorfiles.outputs import check_output, free_space, same_file
from loralathe.tensorfiles.reader import TensorFile, open_tensorfile, read_header
from loralathe.tensorfiles.staging import remove_stale

__all__ = [
    "DTYPES",
    "AdapterWriter",
    "CheckpointWriter",
    "DType",
    "Header",
    "TensorFile",
    "TensorInfo",
    "TensorSpec",
    "adapter_file_size",
    "autov1",
    "autov2",
    "cache_folder",
    "check_output",
    "content_hash",
    "free_space",
    "from_torch_dtype",
    "in_file_order",
    "legacy_hash",
    "model_hash",
    "open_tensorfile",
    "read_header",
    "remove_stale",
    "same_file",
    "tensor_bytes",
    "to_torch_dtype",
]
