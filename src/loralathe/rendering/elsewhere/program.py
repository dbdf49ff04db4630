"""What ComfyUI and A1111 share: a pool of running programs, what a file tells, pictures taken in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from loralathe.errors import InputError, MachineError
from loralathe.families import Family, Usual, detect_checkpoint, original_header
from loralathe.families.comfyui import comfy_parts
from loralathe.progress import Progress
from loralathe.rendering.elsewhere.address import Server
from loralathe.rendering.elsewhere.parts import Doors
from loralathe.rendering.elsewhere.pool import Place, Pool
from loralathe.rendering.elsewhere.server_loras import ServerLoras
from loralathe.rendering.elsewhere.work import LostError, Worker
from loralathe.rendering.infotext import CHUNK, FileHashes, infotext
from loralathe.rendering.png import DAMAGE, picture_in
from loralathe.rendering.prepare import Prepared
from loralathe.rendering.request import ImageRequest
from loralathe.rendering.runtime import Presets

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Settings:
    """What a person says of pictures made by a program.

    folder:   where that program is on this machine, None: nothing of it is here
    encoders: names of text encoders that the server has
    token:    of the door that our pack or extension opens there
    """

    presets: Presets = field(default_factory=Presets)
    folder: Path | None = None
    encoders: tuple[str, ...] = ()
    allow_unmatched: bool = False
    hashes: bool = False
    lora_dirs: tuple[str, ...] = ()
    token: str = ""


class Program(Protocol):
    """One running program: what it has, and how requests are said there."""

    @property
    def server(self) -> Server: ...

    def check(self, prepared: Sequence[Prepared]) -> None:
        """Ask it what it has, and plan every request. Raises InputError for what it cannot draw."""
        ...

    def worker(self) -> Worker:
        """One that asks it for pictures."""
        ...


def server_pool(
    servers: Sequence[Server],
    settings: Settings,
    make: Callable[[Server, Settings, ServerLoras, Progress], Program],
    *,
    most: int,
    progress: Progress | None = None,
) -> Pool:
    """A renderer that asks these servers, which are of one program; each is given `most` pictures at once."""
    loras = ServerLoras(
        servers[0].program,
        settings.folder,
        settings.presets,
        doors=Doors(servers, settings.token) if settings.token else None,
        allow_unmatched=settings.allow_unmatched,
    )
    programs = [make(server, settings, loras, progress or Progress()) for server in servers]

    def check(prepared: Sequence[Prepared]) -> None:
        for program in programs:
            program.check(prepared)

    def size(count: int) -> Callable[[Prepared], int]:
        each = max(1, min(most, -(-count // len(servers))))
        return lambda one: each

    return Pool(
        [Place(program.server.name, program.worker) for program in programs],
        size=size,
        lora_dirs=settings.lora_dirs,
        check=check,
        whole=False,
        closing=loras.close,
        progress=progress,
    )


@dataclass(frozen=True)
class Known:
    """A checkpoint file that is here as well: its family, and what its pictures are usually made with."""

    family: Family
    usual: Usual
    side: int


@cache
def known_checkpoint(file: str, mtime: int) -> Known:
    """From its header. Raises InputError for a file that is no checkpoint, or draws no picture by itself."""
    detected = detect_checkpoint(original_header(file), file)
    family, parts = detected.family, comfy_parts(detected.family)
    if parts is None:
        raise InputError(f"{family.label} models draw no picture by themselves", where=file)
    if family.pictures is None:
        return Known(family, parts.usual, parts.side)
    variants = family.pictures.variants
    usual = variants.get(detected.variant) or next(iter(variants.values()))
    return Known(family, usual, family.pictures.side)


def look_at(checkpoint: str) -> Known:
    """See `known_checkpoint`; InputError for a folder, and for weights that are only in this memory."""
    path = Path(checkpoint)
    if not path.is_file():
        raise InputError(
            "other programs draw with files that they have, not with folders and weights in memory",
            where=checkpoint,
            fix="save the model as one .safetensors file in the folder of that program, and give its path",
            about="on",
        )
    return known_checkpoint(checkpoint, path.stat().st_mtime_ns)


def taken_in(data: bytes, request: ImageRequest, server: Server, hashes: FileHashes, one: Prepared) -> Image:
    """A server's PNG as a picture of ours, with our infotext. Raises LostError for anything but a picture.

    MachineError for one of another size: then the server has settings that change it.
    """
    try:
        image = picture_in(data, ("PNG",))
    except (*DAMAGE, InputError) as error:
        raise LostError(f"{server.name} sent no picture that can be read") from error
    if image.size != request.size:
        raise MachineError(
            f"the server drew {image.width}×{image.height} instead of {request.size[0]}×{request.size[1]}",
            where=server.name,
            fix="look for an extension or a setting there that changes the size",
        )
    image.info = {CHUNK: infotext(request, hashes.of(request, one.uses), made_with=server.label)}
    return image
