"""From a pickle file to a header: which tensors it names, and where in the file each of them lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType

from loralathe.errors import InputError
from loralathe.tensorfiles.dtypes import DTYPES
from loralathe.tensorfiles.header import METADATA_KEY, Header, TensorInfo, TensorSpec, in_file_order
from loralathe.tensorfiles.pickled.archive import AGAIN, Archive, open_archive
from loralathe.tensorfiles.pickled.legacy import read_legacy
from loralathe.tensorfiles.pickled.machine import Machine
from loralathe.tensorfiles.pickled.statedict import StateDict, find_state_dict
from loralathe.tensorfiles.pickled.values import Fault, TensorRef
from loralathe.tensorfiles.pickled.views import View, in_a_row, span_of

_MAX_AXES = 32
_SIZE_LIMIT = 2**63
_LEAST_FILE = 1 << 20
"""Tensors that repeat one element may be larger than the file, but not by any size."""
ZIP_START = b"PK\x03\x04"


@dataclass(frozen=True)
class Pickled:
    """What a pickle file holds. `header` has its offsets from the file's first byte.

    views:    tensors that do not lie in a row in the file; their begin and end only tell their size
    left_out: what else the file holds, such as 'optimizer_states';  lost: how many tensors are in that
    """

    header: Header
    views: Mapping[str, View]
    left_out: tuple[str, ...] = field(default=())
    lost: int = 0


def read_pickled(fd: int, size: int, start: bytes, where: str) -> Pickled:
    """Read the structure of a file of torch.save; `start` is its first bytes. No tensor data is read.

    Raises InputError: names the byte, the name or the tensor that is wrong, and what to do.
    """
    try:
        if start.startswith(ZIP_START):
            return _read_zip(fd, size, where)
        found, places = read_legacy(fd, size, where)
        return _placed(found, lambda ref: places[ref.storage.key], False, size, where)
    except Fault as fault:
        at = "" if fault.at is None else f", byte {fault.at:,} of its pickle"
        raise InputError(fault.what, where=f"{where}{at}", fix=fault.fix or AGAIN) from None


def _read_zip(fd: int, size: int, where: str) -> Pickled:
    archive = open_archive(fd, size, where)
    root = _root(archive)
    machine = Machine(archive.read(f"{root}/data.pkl"))
    value, _ = machine.run()
    found = find_state_dict(value, machine.tensors)
    order = f"{root}/byteorder"
    swapped = order in archive.entries and archive.read(order) == b"big"
    starts: dict[str, tuple[int, int]] = {}

    def place(ref: TensorRef) -> tuple[int, int]:
        key = ref.storage.key
        if key not in starts:
            entry = archive.entries.get(f"{root}/data/{key}")
            if entry is None:
                raise Fault(f"the data of a tensor is missing: there is no entry '{root}/data/{key}'", AGAIN)
            starts[key] = archive.start_of(entry), entry.size
        return starts[key]

    return _placed(found, place, swapped, size, where)


def _root(archive: Archive) -> str:
    """The folder that everything is in; torch names it after the file as it was called then."""
    roots = [name.rpartition("/")[0] for name in archive.entries if name.endswith("/data.pkl")]
    roots = [root for root in roots if "/" not in root]
    if len(roots) != 1:
        some = ", ".join(list(archive.entries)[:3]) or "nothing"
        raise Fault(
            f"a zip archive, but not one of torch.save: it holds {some}", "unpack it; the model may be inside"
        )
    if f"{roots[0]}/constants.pkl" in archive.entries:
        raise Fault("a TorchScript program, not a model's weights", "get the weights as a safetensors file")
    return roots[0]


Place = Callable[[TensorRef], tuple[int, int]]
"""(first byte in the file, bytes) of the storage that a tensor looks into."""


def _placed(found: StateDict, place: Place, swapped: bool, size: int, where: str) -> Pickled:
    infos: dict[str, TensorInfo] = {}
    views: dict[str, View] = {}
    for name, ref in found.tensors.items():
        if name == METADATA_KEY:
            raise Fault(f"a tensor is called '{name}', which safetensors keeps for itself", "rename it")
        try:
            view = _view(ref, *place(ref), swapped, size)
        except Fault as fault:
            raise InputError(fault.what, where=f"{where}, tensor '{name}'", fix=fault.fix or AGAIN) from None
        if in_a_row(view.shape, view.strides, view.itemsize) and not view.swap:
            begin = view.start
        else:
            views[name], begin = view, 0
        infos[name] = TensorInfo(name, ref.dtype, ref.shape, begin, begin + view.nbytes)
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
