"""Bytes on disk, with no knowledge of models: headers, positional reads, atomic writers, hashes.

Read are safetensors files and, as data, torch.save's pickles; written are safetensors files. Importing this
room imports neither torch nor numpy; only `TensorFile.read`, the torch dtype functions and strided views do.
"""

from loralathe.tensorfiles.adapter_writer import AdapterWriter, adapter_file_size
from loralathe.tensorfiles.checkpoint_writer import CheckpointWriter
from loralathe.tensorfiles.dtypes import DTYPES, DType, from_torch_dtype, tensor_bytes, to_torch_dtype
from loralathe.tensorfiles.file_copy import FileCopy
from loralathe.tensorfiles.hash_cache import cache_folder
from loralathe.tensorfiles.hashes import autov1, autov2, content_hash, legacy_hash, model_hash
from loralathe.tensorfiles.header import Header, TensorInfo, TensorSpec, in_file_order
from loralathe.tensorfiles.joining import join_files
from loralathe.tensorfiles.outputs import check_output, free_space, same_file
from loralathe.tensorfiles.reader import TensorFile, open_tensorfile, read_header
from loralathe.tensorfiles.recognise import MODEL_SUFFIXES, check_is_file
from loralathe.tensorfiles.staging import remove_stale, remove_stale_in, write_whole
from loralathe.tensorfiles.textfile import read_text

__all__ = [
    "DTYPES",
    "MODEL_SUFFIXES",
    "AdapterWriter",
    "CheckpointWriter",
    "DType",
    "FileCopy",
    "Header",
    "TensorFile",
    "TensorInfo",
    "TensorSpec",
    "adapter_file_size",
    "autov1",
    "autov2",
    "cache_folder",
    "check_is_file",
    "check_output",
    "content_hash",
    "free_space",
    "from_torch_dtype",
    "in_file_order",
    "join_files",
    "legacy_hash",
    "model_hash",
    "open_tensorfile",
    "read_header",
    "read_text",
    "remove_stale",
    "remove_stale_in",
    "same_file",
    "tensor_bytes",
    "to_torch_dtype",
    "write_whole",
]
