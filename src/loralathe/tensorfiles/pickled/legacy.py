"""Files of torch before 1.6: five pickles one after the other, then the storages, each behind its length.

Layout, from torch.serialization._legacy_save: magic number, protocol version, facts about the machine, the
object, the keys of the storages; then for each key the number of elements in 8 bytes and the elements, all
little-endian whatever machine wrote them.
"""

from __future__ import annotations

from loralathe.tensorfiles.dtypes import DTYPES
from loralathe.tensorfiles.pickled.archive import AGAIN, MAX_MEMORY, read_bytes
from loralathe.tensorfiles.pickled.machine import Machine, Truncated
from loralathe.tensorfiles.pickled.statedict import StateDict, find_state_dict
from loralathe.tensorfiles.pickled.values import Fault, Storage

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
_FIRST_LOOK = 1 << 20
_PLAIN = "a pickle that torch.save did not write"
_ADVICE = (
    "get the safetensors version, or load it with torch.load(weights_only=True) and save its state_dict() "
    "with torch.save"
)

Places = dict[str, tuple[int, int]]


def read_legacy(fd: int, size: int, where: str) -> tuple[StateDict, Places]:
    """(tensors, (first byte, bytes) of each storage by key)."""
    values, machine, at = _pickles(fd, size, where)
    _, protocol, system, value, keys = values
    if protocol != PROTOCOL or not isinstance(system, dict) or not isinstance(keys, list):
        raise Fault(_PLAIN, _ADVICE)
    return find_state_dict(value, machine.tensors), _places(fd, size, where, machine, keys, at)


def _pickles(fd: int, size: int, where: str) -> tuple[list[object], Machine, int]:
    """The five values, the machine that read the fourth, and where the storages begin."""
    look = min(size, _FIRST_LOOK)
    while True:
        data = read_bytes(fd, 0, look, where)
        try:
            return _values(data)
        except Truncated:
            # How long the pickles are is known only at their end.
            if look == size or look >= MAX_MEMORY:
                raise
            look = min(size, look * 8)


def _values(data: bytes) -> tuple[list[object], Machine, int]:
    values: list[object] = []
    at = 0
    holder = Machine(data)
    for number in range(5):
        machine = Machine(data, at)
        value, at = machine.run()
        if number == 0 and value != MAGIC:
            raise Fault(_PLAIN, _ADVICE)
        holder = machine if number == 3 else holder
        values.append(value)
    return values, holder, at


def _places(fd: int, size: int, where: str, machine: Machine, keys: list[object], at: int) -> Places:
    found: Places = {}
    for key in keys:
        storage = machine.storages.get(key) if isinstance(key, str) else None
        if storage is None:
            raise Fault("the list of storages names one that no tensor uses", AGAIN)
        found[storage.key] = _place(fd, size, where, storage, at)
        at = sum(found[storage.key])
    if missing := machine.storages.keys() - found.keys():
        raise Fault(f"the data of {len(missing)} storages is missing", AGAIN)
    return found


def _place(fd: int, size: int, where: str, storage: Storage, at: int) -> tuple[int, int]:
    if at + 8 > size:
        raise Fault("truncated: the file ends before its tensors do", "download or copy the file again")
    count = int.from_bytes(read_bytes(fd, at, 8, where), "little")
    if count != storage.count:
        raise Fault(f"a storage should have {storage.count:,} elements and has {count:,}", AGAIN)
    length = count * (1 if storage.dtype is None else DTYPES[storage.dtype].bits // 8)
    if at + 8 + length > size:
        raise Fault("truncated: the file ends before its tensors do", "download or copy the file again")
    return at + 8, length
