"""Pickles made to harm: nothing they name is ever imported or called, and none costs much."""

from __future__ import annotations

import builtins
import encodings.cp437  # noqa: F401 -- of names in zip archives: loaded before imports are watched
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from loralathe.errors import InputError
from loralathe.tensorfiles import open_tensorfile
from loralathe.tensorfiles.pickled import contents

PUT = b"\x80\x02"
pytestmark = pytest.mark.timeout(60)
ARMED: list[Path] = []
"""Not empty while a file is read."""


class Reduces:
    """Pickles as a call."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


def archive(path: Path, program: bytes) -> Path:
    """A file of torch.save whose pickle is `program`."""
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("x/data.pkl", program)
        out.writestr("x/byteorder", b"little")
        out.writestr("x/data/0", bytes(64))
    return path


def read_all(path: Path) -> None:
    with open_tensorfile(path) as file:
        for name in file.header.tensors:
            file.read_bytes(name)


def refused(path: Path) -> InputError:
    """The error, with nothing imported on the way."""
    before = set(sys.modules)
    ARMED.append(path)
    try:
        with pytest.raises(InputError) as caught:
            read_all(path)
    finally:
        ARMED.clear()
    assert set(sys.modules) - before <= {"numpy"}
    return caught.value


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose absence shows that nothing ran; the usual doors are watched as well."""
    sprung = tmp_path / "sprung"

    def watched(real: Callable[..., object]) -> Callable[..., object]:
        def spring(*words: object, **named: object) -> object:
            if ARMED:
                sprung.touch()
            return real(*words, **named)  # tests and imports evaluate text, too

        return spring

    for owner, name in ((os, "system"), (subprocess, "Popen"), (builtins, "eval"), (builtins, "exec")):
        monkeypatch.setattr(owner, name, watched(getattr(owner, name)))
    return sprung


def hostile_objects(sprung: Path) -> dict[str, object]:
    touch = Reduces(Path.touch, sprung)
    return {
        "os.system": Reduces(os.system, f"touch {sprung}"),
        "eval": Reduces(eval, f"open({str(sprung)!r}, 'w')"),
        "exec": Reduces(exec, f"open({str(sprung)!r}, 'w')"),
        "getattr": Reduces(getattr, os, "system"),
        "import": Reduces(__import__, "os"),
        "popen": Reduces(subprocess.Popen, ["touch", str(sprung)]),
        "method": touch,
        "torch.load": Reduces(torch.load, io.BytesIO),
        "torch.hub": Reduces(torch.hub.load, "x", "y"),
        "partial": Reduces(__import__("functools").partial, os.system, "x"),
        "in a value": {"state_dict": {"a": torch.ones(2)}, "callbacks": touch},
        "in a list": [1, [2, touch]],
    }


@pytest.mark.parametrize("name", sorted(hostile_objects(Path("x"))))
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_calls(tmp_path: Path, trap: Path, name: str, protocol: int, zipped: bool) -> None:
    path = tmp_path / "x.ckpt"
    try:
        torch.save(
            hostile_objects(trap)[name], path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped
        )
    except (pickle.PicklingError, TypeError, AttributeError):
        path.write_bytes(PUT + b"cos\nsystem\nX\x01\x00\x00\x00x\x85R.")  # what is watched cannot be pickled
    error = refused(path)
    assert "the file may be malicious" in error.what
    assert "byte" in str(error.where)
    assert "safetensors" in str(error.fix)
    assert not trap.exists()


PROGRAMS = {
    "global": b"cos\nsystem\n)R.",
    "stack global": b"\x8c\x02os\x8c\x06system\x93)R.",
    "stack global from the memo": b"\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93)R.",
    "dotted stack global": b"\x8c\x05torch\x8c\x0futils.os.system0\x93)R.",
    "module in the name": b"ctorch\n_utils.os.system\n)R.",
    "known module, other name": b"ctorch._utils\n_import_dotted_name\n)R.",
    "inst": b"(X\x01\x00\x00\x00xios\nsystem\n.",
    "obj": b"(cos\nsystem\nX\x01\x00\x00\x00xo.",
    "newobj": b"csubprocess\nPopen\n)\x81.",
    "newobj_ex": b"csubprocess\nPopen\n)}\x92.",
    "extension registry": b"\x82\x01)R.",
    "extension registry, wide": b"\x84\x01\x00\x00\x00)R.",
    "persistent id of text": b"Pos.system\n.",
    "persistent id of a call": b"cos\nsystem\nQ.",
    "setstate of a call": b"cos\nsystem\n}X\x01\x00\x00\x00ab.",
    "unicode that is no name": b"cos\xff\nsystem\n.",
    "out of band buffer": b"\x97.",
    "not even a module": b"c\n\n)R.",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_door_of_the_format(tmp_path: Path, trap: Path, name: str) -> None:
    for start in (b"\x80\x02", b"\x80\x04", b""):
        refused(archive(tmp_path / "x.ckpt", start + PROGRAMS[name]))
    assert not trap.exists()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(size: bytes, stride: bytes, *, offset: bytes = b"K\x00", count: bytes = b"K\x10") -> bytes:
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + count + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + size + stride + b"\x89NtR"


def model(program: bytes) -> bytes:
    return PUT + b"}" + text("a") + program + b"s."


def test_the_hand_made_tensor_is_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.ckpt", model(tensor(b"K\x04\x85", b"K\x01\x85")))
    with open_tensorfile(path) as file:
        assert file.read("a").tolist() == [0.0] * 4


LONG = b"\x8a\x08" + struct.pack("<q", 2**62)
LIES = {
    "size beyond the storage": tensor(b"K\x11\x85", b"K\x01\x85"),
    "offset beyond the storage": tensor(b"K\x04\x85", b"K\x01\x85", offset=b"K\x0d"),
    "stride beyond the storage": tensor(b"K\x04\x85", b"K\x08\x85"),
    "storage beyond the file": tensor(b"K\x04\x85", b"K\x01\x85", count=LONG),
    "one element as exabytes": tensor(LONG + b"\x85", b"K\x00\x85"),
    "one element as gigabytes": tensor(b"J\x00\x00\x00\x40\x85", b"K\x00\x85"),
    "negative size": tensor(b"J\xff\xff\xff\xff\x85", b"K\x01\x85"),
    "negative stride": tensor(b"K\x04\x85", b"J\xff\xff\xff\xff\x85"),
    "negative offset": tensor(b"K\x04\x85", b"K\x01\x85", offset=b"J\xff\xff\xff\xff"),
    "negative storage": tensor(b"K\x04\x85", b"K\x01\x85", count=b"J\xff\xff\xff\xff"),
    "sizes that are no numbers": tensor(text("x") + b"\x85", b"K\x01\x85"),
    "sizes that are true": tensor(b"\x88\x85", b"K\x01\x85"),
    "more strides than sizes": tensor(b"K\x04\x85", b"K\x01K\x01\x86"),
    "thousands of axes": tensor(b"(" + b"K\x01" * 5000 + b"t", b"(" + b"K\x01" * 5000 + b"t"),
    "empty, but of endless sizes": tensor(b"K\x00" + LONG + LONG + b"\x87", b"K\x01K\x01K\x01\x87"),
    "no storage": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))\x89NtR",
    "no arguments": b"ctorch._utils\n_rebuild_tensor_v2\n)R",
    "arguments that are no tuple": b"ctorch._utils\n_rebuild_tensor_v2\n]R",
    "a call of a number": b"K\x05)R",
    "a call of a storage": tensor(b")", b")") + b")R",
    "a tensor that builds tensors": b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n"
    b"_rebuild_from_type_v2\nN)}tR",
}


@pytest.mark.parametrize("name", LIES)
def test_lies_about_tensors(tmp_path: Path, name: str) -> None:
    refused(archive(tmp_path / "x.ckpt", model(LIES[name])))


BOMBS = {
    "text of four gigabytes": b"X\xff\xff\xff\xff.",
    "text of exabytes": b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "number of gigabytes": b"\x8b\xff\xff\xff\x7f.",
    "frame of exabytes": b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
    "memo at four billion": b"}r\xff\xff\xff\xff.",
    "laughs": b"]q\x00" + b"".join(
        b"]q" + bytes([n, 40, 104, n - 1, 104, n - 1]) + b"e" for n in range(1, 200)
    ) + b".",
    "laughing tuples": b"Nq\x00" + b"".join(
        b"h" + bytes([n - 1]) + b"h" + bytes([n - 1]) + b"\x86q" + bytes([n]) for n in range(1, 200)
    ) + b".",
    "laughing tuples as a key": b"}(" + b"Nq\x00" + b"".join(
        b"h" + bytes([n - 1]) + b"h" + bytes([n - 1]) + b"\x86q" + bytes([n]) for n in range(1, 200)
    ) + b"Nu.",
    "deep lists": b"]" * 60_000 + b"a" * 59_999 + b".",
    "deep tuples": b")" + b"\x85" * 60_000 + b".",
    "deep tuples as a key": b"}(" + b")" + b"\x85" * 60_000 + b"Nu.",
    "deep marks": b"(" * 60_000 + b".",
    "a list in itself": b"]q\x00h\x00a.",
    "a dictionary in itself": b"}q\x00" + text("state_dict") + b"h\x00s.",
    "endless work": b"N0" * 510_000 + b"}.",
    "nothing": b"",
    "only a stop": b".",
    "pops of nothing": b"000.",
    "items of nothing": b"NK\x01K\x02s.",
    "a key without value": b"}(K\x01u.",
    "a tuple without mark": b"t.",
    "what was never stored": b"h\x05.",
    "an unknown protocol": b"\x80\xff}.",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path: Path, name: str) -> None:
    refused(archive(tmp_path / "x.ckpt", PUT + BOMBS[name]))


def test_a_structure_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("x/data.pkl", bytes(80 << 20))
    assert "would be" in refused(path).what
    data = path.read_bytes()
    small = struct.pack("<L", 100)
    path.write_bytes(data.replace(struct.pack("<L", 80 << 20), small))
    assert "cannot be unpacked" in refused(path).what


def entries_of(data: bytes) -> list[int]:
    """Where the entries of an archive's directory begin."""
    return [match.start() for match in re.finditer(b"PK\x01\x02", data)]


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """An archive of two storages of 400 bytes, x/data/0 and x/data/1."""
    path = tmp_path / "x.pt"
    torch.save({"a": torch.ones(100), "b": torch.zeros(100)}, path)
    return path


def test_entries_that_overlap(sound: Path) -> None:
    data = bytearray(sound.read_bytes())
    first, second = (at for at in entries_of(data) if re.match(rb"x/data/\d", data[at + 46 : at + 54]))
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    sound.write_bytes(data)
    assert "reaches beyond its place" in refused(sound).what


def test_an_entry_longer_than_its_place(sound: Path) -> None:
    data = bytearray(sound.read_bytes())
    at = next(at for at in entries_of(data) if data[at + 46 :].startswith(b"x/data/0"))
    data[at + 20 : at + 28] = struct.pack("<2L", 1 << 20, 1 << 20)
    sound.write_bytes(data)
    assert "reaches beyond its place" in refused(sound).what


def test_a_header_with_another_name_than_the_directory(sound: Path) -> None:
    sound.write_bytes(sound.read_bytes().replace(b"x/data/0", b"x/data/9", 1))
    assert "is not where the directory says" in refused(sound).what


def test_encrypted_entries(sound: Path) -> None:
    data = bytearray(sound.read_bytes())
    for at in entries_of(data):
        data[at + 8] |= 1
    sound.write_bytes(data)
    assert "encrypted" in refused(sound).what


def test_two_entries_of_one_name(sound: Path) -> None:
    sound.write_bytes(sound.read_bytes().replace(b"x/data/1", b"x/data/0"))
    assert "two entries of one name" in refused(sound).what


def test_a_directory_of_hundreds_of_thousands_of_entries(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("x/data.pkl", b"")
    data = path.read_bytes()
    at = entries_of(data)[0]
    directory = data[at : data.index(b"PK\x05\x06")] * 200_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, len(directory), at, 0)
    path.write_bytes(data[:at] + directory + end)
    assert "too many to read" in refused(path).what


def test_an_archive_without_entries(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(b"PK\x03\x04" + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, 0, 4, 0))
    assert "it holds nothing" in refused(path).what


def called(function: bytes, arguments: bytes, times: int) -> bytes:
    """A program that calls a function again and again with what it made once."""
    ready = function + b"q\x00" + arguments + b"q\x01"
    return PUT + b"(" + ready + times * b"h\x00h\x01R" + b"t."


PAIRS = b"(" + 1000 * b"X\x01\x00\x00\x00aN\x86" + b"l\x85"
DISTINCT = b"(" + b"".join(b"X\x04\x00\x00\x00%04dN\x86" % n for n in range(1000)) + b"l\x85"
GREEDY = {
    "the same pairs": called(b"ccollections\nOrderedDict\n", PAIRS, 200_000),
    "many dictionaries": called(b"ccollections\nOrderedDict\n", DISTINCT, 30_000),
    "attributes": called(b"ctorch\nSize\n", b"(" + 20_000 * b"K\x01" + b"t\x85", 50_000),
}


@pytest.mark.parametrize("name", GREEDY)
def test_calls_that_ask_for_much(tmp_path: Path, name: str) -> None:
    start = time.process_time()
    assert "calls with more than 2,000,000 values" in refused(archive(tmp_path / "x.ckpt", GREEDY[name])).what
    assert time.process_time() - start < 5.0


def test_many_names_of_the_same_bytes(tmp_path: Path) -> None:
    whole = torch.zeros(1 << 18)
    torch.save({"a": whole, "b": whole, "c": whole[:100]}, tmp_path / "tied.pt")
    read_all(tmp_path / "tied.pt")
    torch.save({f"t{number}": whole for number in range(40)}, tmp_path / "x.pt")
    error = refused(tmp_path / "x.pt")
    assert error.what.startswith("its tensors are 41,943,040 bytes, 39 times the file")


def test_more_tensors_than_any_model_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_TENSORS", 10)
    torch.save({f"t{number}": torch.zeros(1) for number in range(11)}, tmp_path / "x.pt")
    assert refused(tmp_path / "x.pt").what == "the pickle holds 11 tensors; the most that is read is 10"
