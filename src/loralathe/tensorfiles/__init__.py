"""Bytes on disk, with no knowledge of models: headers, positional reads, atomic writers, hashes.

It reads safetensors files and, as data, the pickles of torch.save; it writes safetensors files. Importing it
imports neither torch nor numpy; only `TensorFile.read`, the torch dtype functions and strided views do.
"""

from loralathe.tensorfiles.atomic import (
    StagedFile,
    StagedFolder,
    made_folders,
    stage_bytes,
    text_bytes,
    write_text,
    write_whole,
)
from loralathe.tensorfiles.confined import confine, confined_to, files_called, is_readable, require_readable
from loralathe.tensorfiles.dtypes import DTYPES, from_torch_dtype, tensor_bytes, to_torch_dtype
from loralathe.tensorfiles.file_names import name_key, stored_path
from loralathe.tensorfiles.folder_writer import FolderWriter, NetworkPlan
from loralathe.tensorfiles.folders import (
    folder_parts,
    holds_model,
    is_folder_model,
    model_files,
    models_in_folders,
    read_config,
)
from loralathe.tensorfiles.hashes import autov1, content_hash, legacy_hash, model_hash
from loralathe.tensorfiles.header import (
    LENGTH_BYTES,
    Header,
    TensorInfo,
    TensorSpec,
    encode_header,
    in_file_order,
)
from loralathe.tensorfiles.input_files import (
    LARGEST_BY_HAND,
    MODEL_SUFFIXES,
    check_is_file,
    read_small,
    read_text,
)
from loralathe.tensorfiles.memory import MemoryPath, digest_of, in_memory
from loralathe.tensorfiles.opening import open_tensorfile, read_header
from loralathe.tensorfiles.outputs import check_folder, check_output, free_space, real_path, same_file
from loralathe.tensorfiles.positional import read_at, write_at
from loralathe.tensorfiles.reader import TensorFile
from loralathe.tensorfiles.rearranged import Arrangement, RearrangedFile, Run, transposed
from loralathe.tensorfiles.temporary import remove_stale, remove_stale_in
from loralathe.tensorfiles.user_folders import cache_folder, config_file
from loralathe.tensorfiles.writers import AdapterWriter, CheckpointWriter, adapter_file_size, join_files

__all__ = [
    "DTYPES", "LARGEST_BY_HAND", "LENGTH_BYTES", "MODEL_SUFFIXES", "AdapterWriter", "Arrangement",
    "CheckpointWriter", "FolderWriter", "Header", "MemoryPath", "NetworkPlan", "RearrangedFile", "Run",
    "StagedFile", "StagedFolder", "TensorFile", "TensorInfo", "TensorSpec", "adapter_file_size", "autov1",
    "cache_folder", "check_folder", "check_is_file", "check_output", "config_file", "confine",
    "confined_to", "content_hash", "digest_of", "encode_header", "files_called",
    "folder_parts", "free_space", "from_torch_dtype", "holds_model", "in_file_order", "in_memory",
    "is_folder_model", "is_readable", "join_files",
    "legacy_hash", "made_folders", "model_files", "model_hash", "models_in_folders", "name_key",
    "open_tensorfile", "read_at", "read_config", "read_header", "read_small", "read_text", "real_path",
    "remove_stale", "remove_stale_in", "require_readable", "same_file", "stage_bytes", "stored_path",
    "tensor_bytes", "text_bytes", "to_torch_dtype", "transposed", "write_at", "write_text", "write_whole",
]  # fmt: skip
