"""From a pickle file to a header: which tensors it holds, and where in the file each of them lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType

from loralathe.errors import InputError
from loralathe.tensorfiles.dtypes import DTYPES
from loralathe.tensorfiles.header import (
    MAX_TENSORS,
    METADATA_KEY,
    Header,
    TensorInfo,
    TensorSpec,
    in_file_order,
)
from loralathe.tensorfiles.pickled.containers import AGAIN, Saved, read_legacy, read_zip
from loralathe.tensorfiles.pickled.known_names import Fault, TensorRef
from loralathe.tensorfiles.pickled.views import View, in_a_row, span_of

_MAX_AXES = 32
_SIZE_LIMIT = 2**63
_LEAST_FILE = 1 << 20
"""Tensors that repeat one element may be larger than the file; in small files, up to this size."""
_MOST_SHARED = 4
"""Names may share bytes, as tied weights do: all tensors together take at most so many times the file."""
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "params")
"""Names under which trainers keep the model among their own things; web UIs look for the first."""
EMBEDDING = "string_to_param"
_NUMBERED = (
    "merge it into its base with the program that made it, then extract a LoRA from the two checkpoints"
)
"""Under this name the web UIs' textual inversion keeps its vectors, by placeholder."""
_DEEPEST = 4
ZIP_START = b"PK\x03\x04"


@dataclass(frozen=True)
class Pickled:
    """The tensors of a pickle file. The offsets in `header` count from the file's first byte.

    views:    tensors that do not lie in a row in the file; their begin and end only tell their size
    left_out: what else the file holds, such as 'optimizer_states';  lost: how many tensors are in that
    """

    header: Header
    views: Mapping[str, View]
    left_out: tuple[str, ...] = field(default=())
    lost: int = 0


def read_pickled(fd: int, size: int, start: bytes, where: str, *, embedding: bool = False) -> Pickled:
    """Read the structure of a file of torch.save; `start` is its first bytes. No tensor data is read.

    Raises InputError, which names the wrong byte, name or tensor, and says how to fix it.
    """
    try:
        if start.startswith(ZIP_START):
            return _located(read_zip(fd, size, where), size, where, embedding)
        return _located(read_legacy(fd, size, where), size, where, embedding)
    except Fault as fault:
        at = "" if fault.at is None else f", byte {fault.at:,} of its pickle"
        raise InputError(fault.what, where=f"{where}{at}", fix=fault.fix or AGAIN) from None


def _located(saved: Saved, size: int, where: str, embedding: bool) -> Pickled:
    """The model's tensors as ranges of the file, or as views where they are not in a row."""
    found = find_state_dict(saved.value, saved.tensors, (EMBEDDING,) if embedding else WRAPPERS)
    if len(found.tensors) > MAX_TENSORS:
        raise Fault(
            f"the pickle holds {len(found.tensors):,} tensors; the most that is read is {MAX_TENSORS:,}"
        )
    infos: dict[str, TensorInfo] = {}
    views: dict[str, View] = {}
    for name, ref in found.tensors.items():
        if name == METADATA_KEY:
            raise Fault(f"a tensor is called '{name}', which safetensors keeps for itself", "rename it")
        try:
            view = _view(ref, *saved.place(ref.storage), saved.swapped, size)
        except Fault as fault:
            raise InputError(fault.what, where=f"{where}, tensor '{name}'", fix=fault.fix or AGAIN) from None
        if in_a_row(view.shape, view.strides, view.itemsize) and not view.swap:
            begin = view.start
        else:
            views[name], begin = view, 0
        infos[name] = TensorInfo(name, ref.dtype, ref.shape, begin, begin + view.nbytes)
    total = sum(info.nbytes for info in infos.values())
    if total > max(_MOST_SHARED * size, _LEAST_FILE):
        raise Fault(
            f"its tensors are {total:,} bytes, {total // size} times the file: they are parts of each other",
            "save the file again with a copy of each tensor",
        )
    # As the safetensors library would order them: an output then has the same bytes from either kind of file.
    order = in_file_order(TensorSpec(info.name, info.dtype, info.shape) for info in infos.values())
    tensors = MappingProxyType({spec.name: infos[spec.name] for spec in order})
    header = Header(tensors, MappingProxyType({}), 0, size)
    return Pickled(header, MappingProxyType(views), found.left_out, found.lost)


def _view(ref: TensorRef, start: int, room: int, swapped: bool, file_size: int) -> View:
    """Where the elements of a tensor lie; Fault unless all of them lie in its storage."""
    itemsize = DTYPES[ref.dtype].bits // 8
    shape = ref.shape
    if len(shape) > _MAX_AXES or prod(size for size in shape if size) >= _SIZE_LIMIT // itemsize:
        raise Fault(f"shape {list(shape)!s:.80} is beyond any size")
    strides = tuple(step * itemsize for step in ref.stride)
    first = ref.offset * itemsize
    span = span_of(shape, strides, itemsize)
    claimed = ref.storage.count * (1 if ref.storage.dtype is None else itemsize)
    if claimed > room:
        raise Fault(f"its storage should have {claimed:,} bytes, the file holds {room:,}")
    if span and first + span > claimed:
        raise Fault(f"its elements reach to byte {first + span:,} of a storage of {claimed:,}")
    view = View(start + first, shape, strides, itemsize, _swap(ref.dtype, itemsize) if swapped else 0)
    if view.nbytes > max(file_size, _LEAST_FILE):
        raise Fault(f"it claims {view.nbytes:,} bytes, more than the whole file has")
    return view


def _swap(dtype: str, itemsize: int) -> int:
    part = itemsize // 2 if dtype == "C64" else itemsize
    return part if part > 1 else 0


@dataclass(frozen=True, slots=True)
class StateDict:
    """The model in a pickle: the plain dictionary, or one inside training wrappers.

    tensors: by name;  left_out: names of everything else;  lost: how many tensors are in that.
    """

    tensors: Mapping[str, TensorRef]
    left_out: tuple[str, ...]
    lost: int


def find_state_dict(value: object, tensors_in_file: int, wrappers: Sequence[str]) -> StateDict:
    """The model's tensors; Fault when the pickle does not hold a dictionary of them."""
    left_out: list[str] = []
    held = value if isinstance(value, dict) else {}
    for _ in range(_DEEPEST):
        inner = next((name for name in wrappers if isinstance(held.get(name), dict)), None)
        if inner is None:
            break
        left_out += (name for name in held if name != inner)
        held = held[inner]
    found = {name: ref for name, ref in held.items() if isinstance(ref, TensorRef)}
    left_out += (name for name in held if name not in found)
    if not found and EMBEDDING in held:
        raise Fault("a textual-inversion embedding, not a model", "give a checkpoint or a LoRA")
    if not found and isinstance(value, list) and any(isinstance(one, TensorRef) for one in value):
        raise Fault("a list of tensors without names, as lora_diffusion saves LoRAs", _NUMBERED)
    if not found:
        raise Fault(
            "the pickle does not hold a dictionary of tensors",
            "a model file holds tensors by name; save its state_dict()",
        )
    lost = tensors_in_file - len({id(ref) for ref in found.values()})
    return StateDict(found, tuple(left_out), max(lost, 0))
