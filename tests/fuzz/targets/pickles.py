"""PyTorch files: archives and pickles that were damaged, that claim too much, or that mean harm."""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

from fuzz.case import Case
from fuzz.fixtures import read
from fuzz.mutate_bytes import harmed
from fuzz.mutate_header import split
from fuzz.targets.commands import ON_A_CHECKPOINT, ON_AN_ADAPTER, about
from fuzz.targets.files import SOUND

SUFFIXES = ("ckpt", "pt", "pth", "bin")


def pickle_case(draw: Random, fixtures: Path) -> Case:
    adapter = draw.random() < 0.3
    source = "lora.safetensors" if adapter else "A.safetensors"
    name = f"X.{draw.choice(SUFFIXES)}"
    data = draw.choice(_HARMS)(fixtures, source, draw)
    words = about(name, ON_AN_ADAPTER if adapter else ON_A_CHECKPOINT, draw)
    return Case("pickles", words, SOUND | {name: data})


@cache
def _archive(fixtures: Path, source: str, wrapped: bool) -> bytes:
    import torch

    tensors = _tensors(fixtures, source)
    buffer = io.BytesIO()
    torch.save({"state_dict": tensors, "epoch": 3} if wrapped else tensors, buffer)
    return buffer.getvalue()


@cache
def _old_format(fixtures: Path, source: str) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(_tensors(fixtures, source), buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def _tensors(fixtures: Path, source: str) -> dict[str, object]:
    from safetensors.torch import load

    data = read(fixtures, source)
    assert split(data)[0]
    return dict(load(data))


def _whole(fixtures: Path, source: str, draw: Random) -> bytes:
    if draw.random() < 0.3:
        return _old_format(fixtures, source)
    return _archive(fixtures, source, draw.random() < 0.5)


def _harmed(fixtures: Path, source: str, draw: Random) -> bytes:
    return harmed(_whole(fixtures, source, draw), draw)


def _other_pickle(fixtures: Path, source: str, draw: Random) -> bytes:
    """A sound archive around a pickle with a few bytes changed."""

    def edit(members: dict[str, bytes]) -> None:
        name = next(name for name in members if name.endswith("data.pkl"))
        changed = bytearray(members[name])
        for _ in range(draw.choice((1, 1, 2, 5))):
            at = draw.randrange(min(len(changed), draw.choice((60, 1000, len(changed)))))
            changed[at] = draw.choice(
                (draw.randrange(256), ord(draw.choice("().0126789BCGIJKMNRSTUVX]abcdegloqrstu}h")))
            )
        members[name] = bytes(changed)

    return _edited(_archive(fixtures, source, False), edit)


def _other_members(fixtures: Path, source: str, draw: Random) -> bytes:
    """An archive with members missing, empty, too long, renamed or compressed."""

    def edit(members: dict[str, bytes]) -> None:
        name = draw.choice(sorted(members))
        kind = draw.randrange(5)
        if kind == 0:
            del members[name]
        elif kind == 1:
            members[name] = b""
        elif kind == 2:
            members[name] = members[name][: len(members[name]) // 2]
        elif kind == 3:
            members[draw.choice(("../../evil", "/abs", name.upper(), "x" * 300, ""))] = members.pop(name)
        else:
            members[name] = members[name] * 3

    compressed = zipfile.ZIP_DEFLATED if draw.random() < 0.2 else zipfile.ZIP_STORED
    return _edited(_archive(fixtures, source, draw.random() < 0.5), edit, compressed)


def _bomb(fixtures: Path, source: str, draw: Random) -> bytes:
    """A gigabyte of zeros in a megabyte: as the pickle, or as a tensor's data."""

    def edit(members: dict[str, bytes]) -> None:
        name = draw.choice([name for name in members if name.endswith(("data.pkl", "data/0"))])
        members[name] = bytes(1 << 26)

    return _edited(_archive(fixtures, source, False), edit, zipfile.ZIP_DEFLATED)


def _claims(fixtures: Path, source: str, draw: Random) -> bytes:
    """Numbers in the pickle that are out of all proportion: sizes, offsets, strides, memo places."""

    def edit(members: dict[str, bytes]) -> None:
        name = next(name for name in members if name.endswith("data.pkl"))
        data = members[name]
        places = [at for op, _, at in pickletools.genops(data) if op.name in ("BININT1", "BININT2", "BININT")]
        at = draw.choice(places or [0])
        huge = draw.choice(
            (
                b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
                b"J\xff\xff\xff\xff",
                b"J\xff\xff\xff\x7f",
                b"\x8a\x01\xff",
                b"N",
            )
        )
        width = {ord("K"): 2, ord("M"): 3, ord("J"): 5}.get(data[at], 1)
        members[name] = data[:at] + huge + data[at + width :]

    return _edited(_archive(fixtures, source, False), edit)


class _Evil:
    """Unpickles as a call."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.call, self.arguments


def _evil(fixtures: Path, source: str, draw: Random) -> bytes:
    """Code that would run on loading: it would leave a file, start a program or read one."""
    import os
    import subprocess

    attack = draw.choice((
        _Evil(os.system, "touch harm"), _Evil(exec, "open('harm', 'w')"),
        _Evil(eval, "__import__('os').mkdir('harm')"),
        _Evil(Path.touch, Path("harm")), _Evil(subprocess.run, ["touch", "harm"]), _Evil(open, "harm", "w"),
        _Evil(__import__, "antigravity"), _Evil(bytearray, 1 << 40), _Evil(compile, "1", "x", "eval"),
    ))  # fmt: skip
    state: object = draw.choice(
        (attack, {"state_dict": attack}, {"model.diffusion_model.x": attack}, [attack])
    )
    if draw.random() < 0.3:
        return pickle.dumps(state, draw.choice((0, 1, 2, 4)))

    def edit(members: dict[str, bytes]) -> None:
        name = next(name for name in members if name.endswith("data.pkl"))
        members[name] = pickle.dumps(state, 2)

    return _edited(_archive(fixtures, source, False), edit)


def _small_pickles(fixtures: Path, source: str, draw: Random) -> bytes:
    """Sound archives of other things than weights, and pickles that grow when they are loaded."""
    import torch

    grows = b"\x80\x02" + b"]" + b"".join(b"q%c]h%ch%ce" % (n, n, n) for n in range(1, 30)) + b"."
    deep = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    if draw.random() < 0.3:
        data = draw.choice((grows, deep))
        return (
            data
            if draw.random() < 0.3
            else _edited(
                _archive(fixtures, source, False),
                lambda members: members.update({next(n for n in members if n.endswith("data.pkl")): data}),
            )
        )
    loop: dict[str, object] = {}
    loop["state_dict"] = loop
    thing = draw.choice((
        None, {}, [], 3, "x", {"state_dict": None}, {"state_dict": {}}, loop, {1: torch.ones(1)},
        {"a": torch.ones(2, 2)},
        {"a\x1b[31m": torch.ones(1)}, {"a": torch.ones(1).expand(10**9)}, {"a": torch.ones(4, 4).t()},
        {"a": torch.ones(2).to_sparse()},
        {"a": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, {"a": torch.ones(1,
        device="meta")},
        {"a": torch.ones(1, dtype=torch.complex64)}, {("a", "b"): torch.ones(1)}, {"": torch.ones(0)},
    ))  # fmt: skip
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def _edited(
    data: bytes, edit: Callable[[dict[str, bytes]], object], compression: int = zipfile.ZIP_STORED
) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    edit(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


_HARMS: tuple[Callable[[Path, str, Random], bytes], ...] = (
    _whole, _harmed, _harmed, _other_pickle, _other_pickle, _other_members, _claims, _claims, _evil,
    _evil, _small_pickles,
    _bomb,
)  # fmt: skip
