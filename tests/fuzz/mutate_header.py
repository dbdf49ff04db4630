"""Safetensors files with a header that lies: about lengths, offsets, dtypes, shapes, or being JSON."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

from fuzz.mutate_text import NASTY

Table = dict[str, Any]
SIZES = (
    -1, 0, 1, 2, 3, 7, 8, 255, 2**15, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30,
    1.0, 1.5, 1e400,
    True, None, "1", [], [1], {}, -0.0, float("nan"),
)  # fmt: skip
DTYPES = (
    "F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "U16", "U32", "U64", "BOOL", "F8_E4M3",
    "F8_E5M2",
    "F8_E8M0", "F4", "F6_E2M3", "C64", "f16", "F17", "", "float16", None, 3, [], {}, "F16\u0000", "😀",
)  # fmt: skip
NAMES = (
    "", " ", "a", "__metadata__", "lora_unet_x.alpha", "model.diffusion_model", ".", "..", "../../x",
    "a" * 100_000,
    "\x1b[2J\x1b[31mred", "new\nline", "\u202egnp", "a\u0000b", "é", "é", "*", "%s", "[bold]x[/bold]",
    "[/]",
)  # fmt: skip


def split(data: bytes) -> tuple[Table, bytes]:
    """The header's table and the data section of a sound file."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(text: bytes, body: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def with_a_lie(data: bytes, draw: Random) -> bytes:
    """`data` with one to three lies in its header; its data section stays, or follows a changed offset."""
    table, body = split(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        table = draw.choice(_IN_THE_TABLE)(table, draw)
    text = json.dumps(table, separators=(",", ":")).encode()
    if draw.random() < 0.3:
        text = draw.choice(_IN_THE_TEXT)(text, draw)
    if draw.random() < 0.3:
        body = draw.choice((body[:-1], body + b"\0", body * 2, b"", body[: len(body) // 2]))
    length = None
    if draw.random() < 0.05:
        length = draw.choice((0, 1, 2, len(text) - 1, len(text) + 1, 10**8, 10**8 + 1, 2**63, 2**64 - 1))
    return joined(text, body, length)


def _any_name(table: Table, draw: Random) -> str:
    return draw.choice([name for name in table if name != "__metadata__"] or [""])


def _entry(table: Table, draw: Random) -> dict[str, Any]:
    entry = table.get(_any_name(table, draw))
    return entry if isinstance(entry, dict) else {}


def _dtype(table: Table, draw: Random) -> Table:
    _entry(table, draw)["dtype"] = draw.choice(DTYPES)
    return table


def _shape(table: Table, draw: Random) -> Table:
    """Wrong numbers, wrong count, a permutation: the last keeps the size, so only the model can object."""
    entry = _entry(table, draw)
    shape = list(entry.get("shape") or [1])
    kind = draw.randrange(6)
    if kind == 0:
        shape[draw.randrange(len(shape))] = draw.choice(SIZES)
    elif kind == 1:
        shape.reverse()
    elif kind == 2:
        shape.append(draw.choice((0, 1, 2**40)))
    elif kind == 3:
        shape.insert(0, 1)
    elif kind == 4:
        shape = [int(_product(shape))]
    else:
        shape = draw.choice(([], [0], [0, 2**62, 2**62], [1] * 2000, None, "2,3", {}))  # type: ignore[assignment]
    entry["shape"] = shape
    return table


def _product(shape: list[Any]) -> int:
    product = 1
    for size in shape:
        product *= size if isinstance(size, int) else 1
    return product


def _offsets(table: Table, draw: Random) -> Table:
    entry = _entry(table, draw)
    pair = list(entry.get("data_offsets") or [0, 0])
    kind = draw.randrange(5)
    if kind == 0:
        pair[draw.randrange(len(pair))] = draw.choice(SIZES)
    elif kind == 1:
        pair.reverse()
    elif kind == 2:
        by = draw.choice((-2, -1, 1, 2, 8, 2**40))
        pair = [at + by if isinstance(at, int) else at for at in pair]
    elif kind == 3:
        pair = list(_entry(table, draw).get("data_offsets") or [0, 0])
    else:
        pair = draw.choice(([], [0], [0, 0, 0], None, "0", {}))  # type: ignore[assignment]
    entry["data_offsets"] = pair
    return table


def _swap_places(table: Table, draw: Random) -> Table:
    """Two tensors change places: the file is sound, the model is another."""
    one, other = _any_name(table, draw), _any_name(table, draw)
    if one in table and other in table:
        table[one], table[other] = table[other], table[one]
    return table


def _rename(table: Table, draw: Random) -> Table:
    name = _any_name(table, draw)
    at = draw.randint(0, len(name))
    new = draw.choice(
        (draw.choice(NAMES), name[:at], name[:at] + draw.choice(NASTY) + name[at:], name.upper())
    )
    return {new if key == name else key: value for key, value in table.items()}


def _drop(table: Table, draw: Random) -> Table:
    """Without the tensor, its bytes belong to nobody; or everything after it moves up."""
    name = _any_name(table, draw)
    return {key: value for key, value in table.items() if key != name}


def _keep_few(table: Table, draw: Random) -> Table:
    """A sound file of a few of the tensors."""
    kept = draw.sample(sorted(table), min(len(table), draw.choice((0, 1, 2, 5, 50))))
    return _packed({key: value for key, value in table.items() if key in kept})


def _packed(table: Table) -> Table:
    at = 0
    for entry in table.values():
        pair = entry.get("data_offsets") if isinstance(entry, dict) else None
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, int) for x in pair):
            entry["data_offsets"] = [at, at + pair[1] - pair[0]]
            at += pair[1] - pair[0]
    return table


def _no_entry(table: Table, draw: Random) -> Table:
    table[_any_name(table, draw)] = draw.choice((None, [], {}, "x", 1, True, {"dtype": "F16"}, [[]]))
    return table


def _extra_key(table: Table, draw: Random) -> Table:
    _entry(table, draw)[draw.choice(("dtypes", "", "shape ", "x"))] = draw.choice(SIZES[:-1])
    return table


def _empty_tensor(table: Table, draw: Random) -> Table:
    shape = draw.choice(([0], [0, 5], [3, 0, 3, 3]))
    table[draw.choice(NAMES)] = {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]}
    return table


def _metadata(table: Table, draw: Random) -> Table:
    values: tuple[Any, ...] = (
        None, 1, [], "x", {}, {"a": 1}, {"a": None}, {"loralathe": "{"}, {"loralathe": "[]"},
        {"loralathe": '{"format": 1}'},
        {"ss_network_dim": "1e999"}, {"ss_network_alpha": "nan"}, {"ss_tag_frequency": "{" * 500},
        {"ss_network_module": "lycoris.kohya", "ss_network_args": "[1]"}, {"ss_network_args": '{"algo": 5}'},
        {"x\x1b[31m": "\x1b]0;title\x07"}, {"a": "b" * 10**6}, {"modelspec.title": "[/bold]"},
        {"format": "tf"},
        {"ss_network_args": "[" * 5000}, {"lora_adapter_metadata": "{]"}, {"ss_bucket_info": "9" * 6000},
    )  # fmt: skip
    return {"__metadata__": draw.choice(values)} | {k: v for k, v in table.items() if k != "__metadata__"}


def _twice(text: bytes, draw: Random) -> bytes:
    """A key that comes twice, in the table or in an entry."""
    if draw.random() < 0.5:
        return text[:-1] + b',"x":{},"x":{}}'
    return text.replace(b'"dtype":', b'"dtype":"F16","dtype":', 1)


def _deep(text: bytes, draw: Random) -> bytes:
    depth = draw.choice((50, 990, 1100, 100_000))
    opening, closing = draw.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return text[:-1] + b',"deep":' + opening * depth + b"1" + closing * depth + b"}"


def _constant(text: bytes, draw: Random) -> bytes:
    word = draw.choice((b"NaN", b"Infinity", b"-Infinity", b"-0", b"1e5", b"9" * 5000, b"01", b"0x1", b"tru"))
    return text.replace(b"[", b"[" + word + b",", 1)


def _no_utf8(text: bytes, draw: Random) -> bytes:
    at = draw.randrange(len(text) + 1)
    inserted = draw.choice(
        (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\0", b"\xef\xbb\xbf", b"\xf4\x90\x80\x80")
    )
    return text[:at] + inserted + text[at:]


def _half(text: bytes, draw: Random) -> bytes:
    name = draw.choice(
        (b'"\\ud800":', b'"\\udc00x":', b'"\\u0000":', b'"\\u001b[31m":', b'"\\x":', b'"\\ud83d\\ude00":')
    )
    return b"{" + name + b'{"dtype":"F16","shape":[0],"data_offsets":[0,0]},' + text[1:]


def _around(text: bytes, draw: Random) -> bytes:
    before, after = draw.choice(
        (
            (b" ", b""),
            (b"", b" " * 1000),
            (b"", b"\0" * 8),
            (b"", b"{}"),
            (b"[", b"]"),
            (b"\xef\xbb\xbf", b""),
            (b"", b"x"),
        )
    )
    return before + text + after


def _cut(text: bytes, draw: Random) -> bytes:
    return text[: draw.randrange(len(text) + 1)]


_IN_THE_TABLE: tuple[Callable[[Table, Random], Table], ...] = (
    _dtype, _dtype, _shape, _shape, _shape, _offsets, _offsets, _swap_places, _swap_places, _rename,
    _rename, _drop,
    _keep_few, _no_entry, _extra_key, _empty_tensor, _metadata, _metadata,
)  # fmt: skip
_IN_THE_TEXT: tuple[Callable[[bytes, Random], bytes], ...] = (
    _twice, _deep, _constant, _no_utf8, _half, _around, _cut,
)  # fmt: skip
