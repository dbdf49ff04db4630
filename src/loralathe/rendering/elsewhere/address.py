"""Where pictures are to be made, as a person writes it: `comfyui://host:port`, `a1111://host:port`, `ray`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from loralathe.errors import InputError, option

Program = Literal["comfyui", "a1111"]
PORTS: dict[Program, int] = {"comfyui": 8188, "a1111": 7860}
LABELS: dict[Program, str] = {"comfyui": "ComfyUI", "a1111": "A1111"}
MOST = 64
_RAY = re.compile(r"ray(?P<address>://[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?:\d{1,5})?/?")
_SERVER = re.compile(
    r"(?P<program>comfyui|a1111)(?P<secure>\+https)?://"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>\d{1,5}))?/?"
)
EXAMPLES = ("comfyui://127.0.0.1:8188", "a1111://127.0.0.1:7860", "ray")


@dataclass(frozen=True)
class Server:
    """A running program that is asked over HTTP."""

    program: Program
    host: str
    port: int
    secure: bool = False

    @property
    def label(self) -> str:
        return LABELS[self.program]

    @property
    def name(self) -> str:
        return f"{self.label} at {self.host}:{self.port}"


@dataclass(frozen=True)
class Cluster:
    """Ray: one that this program begins on this machine, or that of an address."""

    address: str | None = None

    @property
    def name(self) -> str:
        return f"Ray at {self.address.removeprefix('ray://')}" if self.address else "Ray"


def read_places(text: str) -> tuple[Server, ...] | Cluster:
    """`comfyui://host:port`, several joined by commas, `a1111://…`, `comfyui+https://…`, `ray`, `ray://…`.

    Raises InputError for anything else: a path, a user's name or another protocol are no part of it.
    """
    if match := _RAY.fullmatch(text.strip()):
        return Cluster(f"ray{match['address']}" if match["address"] else None)
    servers = tuple(_server(one.strip(), text) for one in text.split(","))
    if len(servers) > MOST:
        raise InputError(f"{len(servers)} servers are more than {MOST}", where=option("on"), fix="name fewer")
    if len({one.program for one in servers}) > 1:
        raise InputError(
            "ComfyUI and A1111 draw other pictures of the same settings",
            where=option("on", text),
            fix="name servers of one program",
        )
    if len(set(servers)) < len(servers):
        raise InputError("a server is named twice", where=option("on", text), fix="name it once")
    return servers


def _server(text: str, whole: str) -> Server:
    match = _SERVER.fullmatch(text)
    if match is None:
        raise InputError(
            f"'{text}' is not the address of a server",
            where=option("on", whole),
            fix=f"write {' or '.join(option('on', one) for one in EXAMPLES)}",
        )
    program: Program = "comfyui" if match["program"] == "comfyui" else "a1111"
    secure = bool(match["secure"])
    port = int(match["port"] or (443 if secure else PORTS[program]))
    if not 0 < port < 65536:
        raise InputError(f"there is no port {port}", where=option("on", whole), fix="ports are 1 to 65535")
    return Server(program, match["host"].strip("[]"), port, secure)
