"""The stack machine of pickles, reduced to data: see the package's docstring for why it is our own.

It reads protocols 2 to 5, those that torch.save writes. Everything costs memory and time in proportion to
the bytes read: numbers have at most 16 bytes, texts must lie in the file, the memo is a dictionary, and of
dictionaries only text keys are kept (hashes of other keys can be made to collide).
Opcodes: Python's Lib/pickletools.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from loralathe.tensorfiles.pickled.known_names import (
    Fault,
    Name,
    Opaque,
    Storage,
    StorageType,
    TensorRef,
    look_up,
)

MAX_STEPS = 1_000_000
"""Six times what a large checkpoint with its optimizer takes."""
MAX_GIVEN = 2_000_000
"""Values that are given to calls: a tensor takes 14 of them."""
MAX_INT_BYTES = 16
HIGHEST_PROTOCOL = 5
STOP = ord(".")


class Truncated(Fault):
    """The stream ends before the pickle does."""


class Machine:
    """One pickle in `data`, starting at `start`; `run` gives its value and where it ends."""

    def __init__(self, data: bytes, start: int = 0) -> None:
        self._data = data
        self._at = start
        self._op_at = start
        self._stack: list[object] = []
        self._marked: list[list[object]] = []
        self._memo: dict[int, object] = {}
        self._given = 0
        self.tensors = 0
        self.storages: dict[str, Storage] = {}

    def run(self) -> tuple[object, int]:
        """(value, first byte after the pickle). Raises Fault, with the byte where it is."""
        try:
            for _ in range(MAX_STEPS):
                self._op_at = self._at
                code = self._byte()
                if code == STOP:
                    return self._pop(), self._at
                operation = BY_CODE[code]
                if operation is None:
                    raise Fault(f"a pickle operation that is not supported (0x{code:02x})")
                operation(self)
        except Fault as fault:
            if fault.at is None:
                fault.at = self._op_at
            raise
        raise Fault(f"more than {MAX_STEPS:,} pickle operations", at=self._op_at)

    # Reading

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise Truncated("the pickle ends too early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def _byte(self) -> int:
        at = self._at
        if at >= len(self._data):
            raise Truncated("the pickle ends too early")
        self._at = at + 1
        return self._data[at]

    def _number(self, layout: str) -> int:
        (value,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        return int(value)

    def _line(self) -> str:
        end = self._data.find(b"\n", self._at)
        if end < 0:
            raise Truncated("the pickle ends too early")
        text = self._take(end + 1 - self._at)[:-1]
        return _text(text)

    # The stack

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> object:
        if not self._stack:
            raise Fault("the pickle takes from an empty stack")
        return self._stack.pop()

    def _since_mark(self) -> list[object]:
        if not self._marked:
            raise Fault("the pickle takes a mark that it never set")
        values, self._stack = self._stack, self._marked.pop()
        return values

    # Operations that are more than one line

    def mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def duplicate(self) -> None:
        value = self._pop()
        self._stack += (value, value)

    def protocol(self) -> None:
        number = self._byte()
        if number > HIGHEST_PROTOCOL:
            raise Fault(f"pickle protocol {number} is not known")

    def small_tuple(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(values)))

    def long(self, layout: str) -> None:
        size = self._number(layout)
        if size < 0:
            raise Fault("a number of negative length")
        data = self._take(size)
        # Large numbers are random states; no size or offset needs them.
        self._push(int.from_bytes(data, "little", signed=True) if size <= MAX_INT_BYTES else Opaque("int"))

    def sized(self, layout: str, make: Callable[[bytes], object]) -> None:
        size = self._number(layout)
        if size < 0:
            raise Fault("a text of negative length")
        self._push(make(self._take(size)))

    def append(self, values: list[object]) -> None:
        target = self._top()
        if isinstance(target, list):
            target += values
        elif not isinstance(target, Opaque):
            raise Fault(f"the pickle appends to {_kind(target)}")

    def _top(self) -> object:
        if not self._stack:
            raise Fault("the pickle changes a value that is not there")
        return self._stack[-1]

    def append_one(self) -> None:
        self.append([self._pop()])

    def frozen_set(self) -> None:
        self._since_mark()
        self._push(Opaque("frozenset"))

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self.set_items([key, value])

    def set_items(self, values: list[object]) -> None:
        target = self._top()
        if isinstance(target, dict):
            target.update(_pairs(values))
        elif not isinstance(target, Opaque):
            raise Fault(f"the pickle puts items into {_kind(target)}")

    def put(self, index: int) -> None:
        self._memo[index] = self._top()

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise Fault(f"the pickle recalls a value that it never stored ({index})")
        self._push(self._memo[index])

    def named(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Fault("the pickle gives a name that is not text")
        self._push(look_up(module, name))

    def stack_named(self) -> None:
        name, module = self._pop(), self._pop()
        self.named(module, name)

    def reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(arguments, tuple) or not isinstance(function, (Name, Opaque)):
            raise Fault(f"the pickle calls {_kind(function)}")
        self._count(arguments)
        made = function.call(arguments) if isinstance(function, Name) else Opaque(function.name)
        # A parameter is the same tensor again, not another one.
        self.tensors += isinstance(made, TensorRef) and not (arguments and made is arguments[0])
        self._push(made)

    def _count(self, arguments: tuple[object, ...]) -> None:
        """A call looks at all that it is given, and a few bytes give the same list again and again."""
        self._given += len(arguments)
        self._given += sum(len(value) for value in arguments if isinstance(value, (list, tuple, dict)))
        if self._given > MAX_GIVEN:
            raise Fault(f"calls with more than {MAX_GIVEN:,} values")

    def new_object(self, with_keywords: bool = False) -> None:
        if with_keywords:
            self._pop()
        self.reduce()

    def build(self) -> None:
        """State of objects: of an ordered dict it is torch's version notes, of a tensor its attributes."""
        self._pop()
        target = self._top()
        if not isinstance(target, (dict, Opaque, TensorRef)):
            raise Fault(f"the pickle sets the state of {_kind(target)}")

    def persistent(self) -> None:
        found = self._pop()
        match found:
            case ("storage", StorageType(dtype), str(key), _, int(count), *rest) if count >= 0:
                if any(part is not None for part in rest):
                    raise Fault("a storage that is a view of another, as torch before 0.4 wrote them")
                storage = Storage(key, dtype, count)
                self.storages[key] = storage
                self._push(storage)
            case _:
                raise Fault("a reference to something other than a tensor's storage")


def _pairs(values: list[object]) -> dict[str, object]:
    if len(values) % 2:
        raise Fault("the pickle has a key without a value")
    return {key: value for key, value in zip(values[::2], values[1::2], strict=True) if isinstance(key, str)}


def _kind(value: object) -> str:
    return f"'{value.name}'" if isinstance(value, (Name, Opaque)) else f"a {type(value).__name__}"


def _text(data: bytes) -> str:
    """UTF-8; Fault when it is not."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Fault("a text that is not UTF-8") from None


def _old_text(data: bytes) -> str:
    """Texts of Python 2, which had no encoding."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


OPERATIONS: dict[bytes, Callable[[Machine], None]] = {
    b"\x80": Machine.protocol,
    b"\x95": lambda m: void(m._take(8)),  # a frame: only a hint for buffers
    b"(": Machine.mark,
    b"0": Machine.pop,
    b"1": lambda m: void(m._since_mark()),
    b"2": Machine.duplicate,
    b"N": lambda m: m._push(None),
    b"\x88": lambda m: m._push(True),
    b"\x89": lambda m: m._push(False),
    b"J": lambda m: m._push(m._number("<i")),
    b"K": lambda m: m._push(m._byte()),
    b"M": lambda m: m._push(m._number("<H")),
    b"\x8a": lambda m: m.long("<B"),
    b"\x8b": lambda m: m.long("<i"),
    b"G": lambda m: m._push(struct.unpack(">d", m._take(8))[0]),
    b"X": lambda m: m.sized("<I", _text),
    b"\x8c": lambda m: m.sized("<B", _text),
    b"\x8d": lambda m: m.sized("<Q", _text),
    b"U": lambda m: m.sized("<B", _old_text),
    b"T": lambda m: m.sized("<i", _old_text),
    b"C": lambda m: m.sized("<B", bytes),
    b"B": lambda m: m.sized("<I", bytes),
    b"\x8e": lambda m: m.sized("<Q", bytes),
    b"\x96": lambda m: m.sized("<Q", bytes),
    b")": lambda m: m._push(()),
    b"t": lambda m: m._push(tuple(m._since_mark())),
    b"\x85": lambda m: m.small_tuple(1),
    b"\x86": lambda m: m.small_tuple(2),
    b"\x87": lambda m: m.small_tuple(3),
    b"]": lambda m: m._push([]),
    b"l": lambda m: m._push(m._since_mark()),
    b"a": Machine.append_one,
    b"e": lambda m: m.append(m._since_mark()),
    b"}": lambda m: m._push({}),
    b"d": lambda m: m._push(_pairs(m._since_mark())),
    b"s": Machine.set_item,
    b"u": lambda m: m.set_items(m._since_mark()),
    b"\x8f": lambda m: m._push(Opaque("set")),
    b"\x90": lambda m: m.append(m._since_mark()),
    b"\x91": Machine.frozen_set,
    b"c": lambda m: m.named(m._line(), m._line()),
    b"\x93": Machine.stack_named,
    b"R": Machine.reduce,
    b"\x81": Machine.new_object,
    b"\x92": lambda m: m.new_object(with_keywords=True),
    b"b": Machine.build,
    b"Q": Machine.persistent,
    b"q": lambda m: m.put(m._byte()),
    b"r": lambda m: m.put(m._number("<I")),
    b"\x94": lambda m: m.put(len(m._memo)),
    b"h": lambda m: m.get(m._byte()),
    b"j": lambda m: m.get(m._number("<I")),
}
BY_CODE = [OPERATIONS.get(bytes([code])) for code in range(256)]


def void(*_: object) -> None:
    """Drops its arguments: operations return nothing."""
