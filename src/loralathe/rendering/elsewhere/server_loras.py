"""LoRAs as a server uses them: its own name for the file, and two strengths.

A server knows no block weights. A LoRA that has some is written, once, as small files of one block each into
the server's own folder, or sent through its door, tensors byte for byte; each file then has a strength of its
own, which is exact for every kind of LoRA. The files are named by a hash, and removed in the end.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loralathe.adapters import AdapterModule, open_adapter, require_fit
from loralathe.adapters.fit import Fit
from loralathe.adapters.inherited import inherited
from loralathe.errors import InputError, option
from loralathe.families import Family
from loralathe.rendering.elsewhere.address import Program
from loralathe.rendering.elsewhere.parts import OURS, TOKEN, Doors, sweep
from loralathe.rendering.runtime import Presets, strength_of
from loralathe.strengths import AdapterUse, block_names_of, check_blocks, effective
from loralathe.tensorfiles import AdapterWriter, content_hash

FOLDERS: dict[Program, str] = {"comfyui": "models/loras", "a1111": "models/Lora"}
OPTIONS: dict[Program, str] = {"comfyui": "comfyui", "a1111": "webui"}
_RENAMES = ("ss_output_name",)
"""Metadata by which A1111 would call every part by the same name."""


@dataclass(frozen=True)
class ServerLora:
    """A LoRA by the path of a file that the server has, too, and the strengths of both parts."""

    file: str
    te: float
    unet: float


@dataclass(frozen=True)
class _Part:
    """Modules that have one weight wherever blocks are weighted; elements may divide a block."""

    label: str
    weight: float
    modules: tuple[AdapterModule, ...]


class ServerLoras:
    """The LoRAs of requests for one program. folder: where that program is, None: not known.

    presets: the person's block lists and element rules;  doors: where parts are sent, without a folder.
    """

    def __init__(
        self,
        program: Program,
        folder: Path | None,
        presets: Presets,
        *,
        doors: Doors | None = None,
        allow_unmatched: bool = False,
    ) -> None:
        self._program = program
        self._folder = folder
        self._presets = presets
        self._doors = doors if folder is None else None
        self._sent: tempfile.TemporaryDirectory[str] | None = None
        self._allow_unmatched = allow_unmatched
        self._written: dict[Path, None] = {}
        self._found: dict[tuple[tuple[AdapterUse, ...], str, int], tuple[ServerLora, ...]] = {}

    @property
    def written(self) -> bool:
        """Whether there are files that the server does not know yet or has to forget."""
        return bool(self._written)

    def of(self, uses: Sequence[AdapterUse], family: Family, seed: int) -> tuple[ServerLora, ...]:
        """What the server is to load, parts written. InputError for what cannot be said there."""
        key = (tuple(uses), family.id, seed)
        if key not in self._found:
            self._found[key] = self._taken_apart(uses, family, seed)
        return self._found[key]

    def _taken_apart(self, uses: Sequence[AdapterUse], family: Family, seed: int) -> tuple[ServerLora, ...]:
        found = [one for use in uses for one in self._of(use, family, seed)]
        names = [one.file for one in found]
        for one in found:
            if self._program == "a1111" and names.count(one.file) > 1:
                raise InputError(
                    "A1111 takes a LoRA once", where=one.file, fix="add the strengths up, and name it once"
                )
        return tuple(found)

    def _of(self, use: AdapterUse, family: Family, seed: int) -> Iterator[ServerLora]:
        if use.start is not None or use.stop is not None:
            raise InputError(
                "other programs do not turn a LoRA on and off between steps",
                where=use.file,
                fix="leave start= and stop= out, or draw here",
            )
        if use.blocks is None and use.elements is None:
            yield ServerLora(use.file, use.te, use.unet)
            return
        parts = self._parts(use, family, seed)
        weights = {part.weight for part in parts}
        if len(weights) == 1:
            (weight,) = weights
            yield ServerLora(use.file, use.te * weight, use.unet * weight)
            return
        for part in parts:
            if part.weight:
                file = self._file(use, part, family)
                yield ServerLora(str(file), use.te * part.weight, use.unet * part.weight)

    def _parts(self, use: AdapterUse, family: Family, seed: int) -> list[_Part]:
        """The modules by block; where element rules divide blocks, by weight."""
        strength = replace(strength_of(use, family, self._presets, seed), te=1.0, unet=1.0)
        with open_adapter(use.file, family) as adapter:
            fit = Fit(tuple(adapter.modules.values()), tuple(adapter.unmatched), ())
            require_fit(adapter, fit, family.label, allow_unmatched=self._allow_unmatched)
            check_blocks(strength, fit.used)
            grouped: dict[tuple[str, float], list[AdapterModule]] = {}
            for module in fit.used:
                label = "part" if strength.elements else block_names_of(module.name, module.block)[-1]
                grouped.setdefault((label, effective(strength, module)), []).append(module)
        return [_Part(label, weight, tuple(held)) for (label, weight), held in grouped.items()]

    def _file(self, use: AdapterUse, part: _Part, family: Family) -> Path:
        """The file of a part, written if it is not there yet."""
        folder = self._require_folder(use)
        digest = hashlib.sha256(content_hash(use.file).encode())
        for module in part.modules:
            digest.update(f"\0{module.raw_name}".encode())
        path = folder / f"{OURS}{digest.hexdigest()[:16]}.safetensors"
        if path not in self._written:
            lacking = self._doors.lacking(path.name) if self._doors is not None else []
            self._written[path] = None
            if not path.is_file() and (self._doors is None or lacking):
                _write(use.file, part.modules, path, family)
            for client in lacking:
                assert self._doors is not None
                self._doors.send(client, path)
        return path

    def _require_folder(self, use: AdapterUse) -> Path:
        name = OPTIONS[self._program]
        if self._doors is not None:
            if self._sent is None:
                self._sent = tempfile.TemporaryDirectory(prefix="loralathe-")
            return Path(self._sent.name)
        if self._folder is None:
            raise InputError(
                "a server knows no block weights; parts of the LoRA have to be written into its folder",
                where=use.file,
                fix=f"name the folder of the program on this machine, {option(name, 'DIR')}, "
                f"or put the token of loralathe there into the variable {TOKEN}",
                about=name,
            )
        folder = self._folder / FOLDERS[self._program]
        if not folder.is_dir():
            raise InputError(
                "this folder holds no LoRAs of the program",
                where=str(folder),
                fix=f"{option(name, 'DIR')} is the folder that the program is in",
                about=name,
            )
        if not self._written:
            sweep(folder)
        return folder

    def close(self) -> None:
        """Remove what was written."""
        self._found.clear()
        written, self._written = self._written, {}
        for path in written:
            path.unlink(missing_ok=True)
            if self._doors is not None:
                self._doors.remove(path.name)
        if self._sent is not None:
            self._sent.cleanup()
            self._sent = None


def _write(source: str, modules: Iterable[AdapterModule], path: Path, family: Family) -> None:
    """The tensors of these modules as they are, under the metadata of the file."""
    with open_adapter(source, family) as adapter:
        metadata = {key: text for key, text in inherited(adapter.metadata).items() if key not in _RENAMES}
        with AdapterWriter(path, metadata, inputs=[source]) as writer:
            for key in dict.fromkeys(key for module in modules for key in _keys(module)):
                info = adapter.file.info(key)
                writer.add(key, info.dtype, info.shape, adapter.file.read_bytes(key))
            writer.commit()


def _keys(module: AdapterModule) -> Iterator[str]:
    """The tensors of a module, and of those that it is put together from."""
    for _, piece in module.pieces:
        yield from _keys(piece)
    for info in module.tensors.values():
        yield info.name
