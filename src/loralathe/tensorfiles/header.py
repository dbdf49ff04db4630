"""The header of a safetensors file: parsed, checked completely, and encoded. Bytes in, frozen data out.

Format: 8 bytes little-endian length n, n bytes of JSON, then the data section. The tensors cover it exactly.
This checks everything that the official library checks, and refuses duplicate keys as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from operator import attrgetter
from types import MappingProxyType
from typing import NoReturn, TypeGuard, cast

from loralathe.errors import InputError, did_you_mean
from loralathe.tensorfiles.dtypes import DTYPES, alignment_rank

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""The official library's limit."""
MAX_TENSORS = 50_000
"""Ten times what the largest image models have. A header of the format's size could name a million."""
_MOST_VALUES = 20 * MAX_TENSORS
_SMALL_HEADER = 1 << 20
"""Bytes: what fits in here needs no counting before it is read."""
METADATA_KEY = "__metadata__"
_SIZE_LIMIT = 2**63

_DAMAGED = "download or copy the file again; it is damaged or was written by a faulty program"


@dataclass(frozen=True, slots=True)
class Stored:
    """How a quantised tensor lies in the file; it is read as F32.

    kind:     what people call it, 'scaled fp8'
    nbytes:   of all that it is made of, scales included
    rounding: rms rounding error over rms weight, of normal weights
    error:    rms rounding error, where the size of the steps is known
    """

    kind: str
    nbytes: int
    rounding: float
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies: bytes [begin, end) of the data section.

    stored: of a quantised tensor. Its dtype, shape and size are those of what is read, and where it lies
    is known to its file only.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int
    stored: Stored | None = None

    @property
    def nbytes(self) -> int:
        return self.end - self.begin

    @property
    def bytes_in_file(self) -> int:
        return self.nbytes if self.stored is None else self.stored.nbytes

    @property
    def rounding(self) -> str | tuple[float, float]:
        """What its values were rounded to: a dtype, or relative and absolute errors as in `Stored`."""
        return self.dtype if self.stored is None else (self.stored.rounding, self.stored.error)

    @property
    def numel(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor to be written; its bytes follow those of the tensor before it in the plan."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes the tensor takes; ValueError when sub-byte elements do not fill whole bytes."""
        size, rest = divmod(prod(self.shape) * DTYPES[self.dtype].bits, 8)
        if rest:
            raise ValueError(
                f"{self.name}: shape {list(self.shape)} of {self.dtype} is not a whole number of bytes"
            )
        return size


@dataclass(frozen=True)
class Header:
    """A checked header: `tensors` in order of offset, `data_start` and `file_size` bytes from the start."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data_start: int
    file_size: int


class _DuplicateKeyError(ValueError):
    pass


class _FaultError(ValueError):
    """A fault in a tensor's entry; the caller adds the file and the tensor."""

    def __init__(self, what: str, fix: str = _DAMAGED) -> None:
        super().__init__(what)
        self.fix = fix


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _DuplicateKeyError(twice)
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _natural(text: str) -> int:
    if text[0] == "-":
        raise ValueError(f"{text[:24]} is not a size")
    return int(text)


_INT = {int}
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
_MINUS_ZERO_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=_natural
)
"""Three times as slow; needed because -0 is a float to other readers and 0 to Python."""


def header_length(prefix: bytes, file_size: int, where: str) -> int:
    """Length of the JSON part, from the file's first 8 bytes; InputError when the file cannot hold it."""
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        raise InputError(
            f"not a safetensors file, or a damaged one: its header would be {length:,} bytes long",
            where=where,
            fix=f"the format allows {MAX_HEADER_BYTES:,}; check that this is a safetensors model",
        )
    if LENGTH_BYTES + length > file_size:
        raise InputError(
            f"truncated: the header needs {LENGTH_BYTES + length:,} bytes, the file has {file_size:,}",
            where=where,
            fix="download or copy the file again",
        )
    return length


def parse_header(text: bytes, file_size: int, where: str) -> Header:
    """Check the JSON part of a file of `file_size` bytes; an InputError names the tensor and the numbers."""
    _check_amount(text, where)
    table = _load_json(text, where)
    metadata = _check_metadata(table.pop(METADATA_KEY, None), where)
    data_start = LENGTH_BYTES + len(text)
    if len(table) > MAX_TENSORS:
        raise too_many(f"{len(table):,} tensors", f"{MAX_TENSORS:,}", where)
    infos = []
    for name, entry in table.items():
        try:
            infos.append(_check_tensor(name, entry))
        except _FaultError as error:
            at = f"{where}, tensor '{name}'"
            raise InputError(str(error), where=at, fix=error.fix) from None
    infos.sort(key=attrgetter("begin", "end"))
    _check_coverage(infos, file_size - data_start, where)
    return Header(
        MappingProxyType({info.name: info for info in infos}),
        MappingProxyType(metadata),
        data_start,
        file_size,
    )


def _check_amount(text: bytes, where: str) -> None:
    """Refuse a header whose JSON would take many times its own size in memory; long texts are no matter."""
    if len(text) > _SMALL_HEADER and sum(islice(_values(text), _MOST_VALUES + 1)) > _MOST_VALUES:
        raise too_many(f"more than {_MOST_VALUES:,} values", f"{MAX_TENSORS:,} tensors", where)


def _values(text: bytes) -> Iterator[int]:
    """Texts of a JSON text, and the values that stand between each two of them."""
    text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    end = 0
    while end < len(text):
        begin = text.find(b'"', end) % (len(text) + 1)  # -1, there is none, becomes the end
        yield 1 + sum(text.count(sign, end, begin) for sign in (b",", b"[", b"{"))
        end = text.find(b'"', begin + 1) % (len(text) + 1) + 1


def too_many(what: str, most: str, where: str) -> InputError:
    """The header of a file asks for more than is ever read."""
    return InputError(
        f"the header holds {what}; the most that is read is {most}",
        where=where,
        fix="no image model has so many; check that this is the file you meant",
    )


def _load_json(text: bytes, where: str) -> dict[str, object]:
    try:
        decoded = text.decode("utf-8")
        # Other readers refuse lone surrogates; `encode` finds those written as escapes.
        decoder = _MINUS_ZERO_DECODER if "-0" in decoded else _DECODER
        table, end = decoder.raw_decode(decoded, len(decoded) - len(decoded.lstrip(" \t\r\n")))
        if decoded[end:].strip(" \t\r\n"):
            raise ValueError("something follows the JSON object")
        if "\\u" in decoded:
            json.dumps(table, ensure_ascii=False).encode("utf-8")
    except _DuplicateKeyError as error:
        raise InputError(f"the header names '{error}' twice", where=where, fix=_DAMAGED) from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"the header is not valid JSON: {reason}", where=where, fix=_DAMAGED) from error
    if not isinstance(table, dict):
        raise InputError("the header is not a JSON object", where=where, fix=_DAMAGED)
    return table


def _check_metadata(value: object, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{METADATA_KEY} is not a JSON object", where=where, fix=_DAMAGED)
    for key, text in value.items():
        if not isinstance(text, str):
            raise InputError(
                f"metadata '{key}' is not text but {type(text).__name__}",
                where=where,
                fix="the format allows only text; rewrite the file's metadata with every value as a string",
            )
    return cast("dict[str, str]", value)


def _check_tensor(name: str, entry: object) -> TensorInfo:
    if not isinstance(entry, dict):
        raise _FaultError("tensor entry is not a JSON object")
    name_of_dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    dtype = DTYPES.get(name_of_dtype) if isinstance(name_of_dtype, str) else None
    if dtype is None:
        guess = did_you_mean(str(name_of_dtype), DTYPES)
        known = f"the format knows {', '.join(DTYPES)}"
        raise _FaultError(f"unknown dtype {name_of_dtype!r}", guess or known)
    if not _all_sizes(shape):
        raise _FaultError(f"shape is not a list of sizes: {shape!r:.80}")
    if not _all_sizes(offsets) or len(offsets) != 2:
        raise _FaultError(f"data_offsets is not a pair of offsets: {offsets!r:.80}")
    begin, end = offsets
    bits = prod(shape) * dtype.bits
    if bits != 8 * (end - begin):
        size, room = _size_text(bits), f"{end - begin:,}"
        raise _FaultError(f"shape {shape} of {dtype.name} is {size}, its range [{begin}, {end}) is {room}")
    if not bits and prod(size for size in shape if size) >= _SIZE_LIMIT:
        raise _FaultError(f"shape {shape} is beyond any size")
    return TensorInfo(name, dtype.name, tuple(shape), begin, end)


def _size_text(bits: int) -> str:
    return f"{bits:,} bits" if bits % 8 else f"{bits // 8:,} bytes"


def _all_sizes(value: object) -> TypeGuard[list[int]]:
    # Types are compared because bool is an int to Python and not to JSON.
    return isinstance(value, list) and set(map(type, value)) <= _INT and min(value, default=0) >= 0


def _check_coverage(infos: Sequence[TensorInfo], data_size: int, where: str) -> None:
    """The tensors must tile [0, data_size): no hole, no overlap, nothing beyond, no bytes left over."""
    at = 0
    for info in infos:
        if info.begin != at:
            _check_within(infos, data_size, where)
            kind = "overlaps the tensor before it" if info.begin < at else "leaves a hole before it"
            raise InputError(
                f"tensor data {kind}: starts at {info.begin:,}, expected {at:,}",
                where=f"{where}, tensor '{info.name}'",
                fix=_DAMAGED,
            )
        at = info.end
    if at > data_size:
        first = next(info for info in infos if info.end > data_size)
        raise InputError(
            f"truncated: the tensors need {at:,} bytes, the file has {data_size:,} after its header",
            where=f"{where}, tensor '{first.name}' ends at {first.end:,}",
            fix="download or copy the file again",
        )
    if at < data_size:
        raise InputError(
            f"{data_size - at:,} bytes at the end belong to no tensor", where=where, fix=_DAMAGED
        )


def _check_within(infos: Iterable[TensorInfo], data_size: int, where: str) -> None:
    """A tensor whose range lies beyond the file leaves a hole; the error names that tensor."""
    for info in infos:
        if info.end > data_size:
            raise InputError(
                f"the tensor's data lies beyond the file: it ends at {info.end:,} of {data_size:,} bytes",
                where=f"{where}, tensor '{info.name}'",
                fix=_DAMAGED,
            )


def plan_layout(specs: Iterable[TensorSpec]) -> dict[str, TensorInfo]:
    """Byte ranges of tensors laid one after the other in the order given; ValueError on names used twice."""
    layout: dict[str, TensorInfo] = {}
    at = 0
    for spec in specs:
        if spec.name in layout or spec.name == METADATA_KEY:
            raise ValueError(f"tensor name '{spec.name}' is taken")
        layout[spec.name] = TensorInfo(spec.name, spec.dtype, tuple(spec.shape), at, at + spec.nbytes)
        at += spec.nbytes
    return layout


def encode_header(tensors: Iterable[TensorInfo], metadata: Mapping[str, str]) -> bytes:
    """Length prefix and JSON, as the official library writes it: compact, padded with spaces to 8 bytes.

    Metadata comes first with its keys sorted, so equal contents are equal bytes.
    """
    table: dict[str, object] = {}
    if metadata:
        table[METADATA_KEY] = {key: _metadata_text(key, metadata[key]) for key in sorted(metadata)}
    for info in tensors:
        table[info.name] = {
            "dtype": info.dtype,
            "shape": info.shape,
            "data_offsets": (info.begin, info.end),
        }
    try:
        text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            "metadata or a tensor name holds half a character (a lone surrogate)", fix="retype it"
        ) from error
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise InputError(
            f"the header would be {len(text):,} bytes, the format allows {MAX_HEADER_BYTES:,}",
            fix="shorten the metadata",
        )
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def _metadata_text(key: object, value: object) -> str:
    if not isinstance(key, str) or not isinstance(value, str):
        raise InputError(f"metadata '{key}' is not text but {type(value).__name__}", fix="give it as text")
    return value


def in_file_order(specs: Iterable[TensorSpec]) -> list[TensorSpec]:
    """The format's customary order: largest dtype first, then by name, so that every tensor is aligned."""
    return sorted(specs, key=lambda spec: (-alignment_rank(spec.dtype), spec.name))
