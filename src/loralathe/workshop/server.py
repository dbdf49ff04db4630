"""Serving the workshop: its folders checked, a port, and a browser that opens. It imports no torch."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable
from typing import Any

import uvicorn

from loralathe import InputError, MachineError, confine, option
from loralathe.workshop.app import Options, Workshop
from loralathe.workshop.routes import application


def serve(options: Options, ready: Callable[[str], None], *, browser: bool = True) -> None:
    """Serve until Ctrl-C. ready: told the address when pages can be opened.

    Raises MachineError for a port that is taken, InputError for a folder that cannot be used.
    """
    _check_folders(options)
    listening = _listen(options)
    workshop = Workshop(options)
    address = _address(options, listening.getsockname()[1], workshop.token)
    config = uvicorn.Config(
        application(workshop),
        log_level="warning",
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    threading.Thread(target=_announce, args=(server, address, ready, browser), daemon=True).start()
    with tempfile.TemporaryDirectory() as own, contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends it
        tempfile.tempdir = own
        shared = [options.presets.absolute()] if options.presets else []
        confine([*(one.folder for one in workshop.places), *shared], [options.out, own, *shared])
        server.run(sockets=[listening])


def _check_folders(options: Options) -> None:
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(
            f"the folder cannot be made: {error.strerror}",
            where=str(options.out),
            fix=f"choose another with {option('out')}",
        ) from error
    for folder in (one.folder for one in options.places() if one.kind != "out"):
        if not folder.is_dir():
            raise InputError("there is no such folder", where=str(folder), fix="check the path")


def _listen(options: Options) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        found = socket.socket(family)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((options.host, options.port))
        found.listen(128)
    except (OSError, OverflowError) as error:
        raise MachineError(
            "the address cannot be used: another program has it, or it is not this machine's",
            where=f"{options.host}, port {options.port}",
            fix=f"choose another port: {option('port', options.port + 1)}",
        ) from error
    return found


def _address(options: Options, port: int, token: str | None) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host
    if options.host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


def _announce(server: Any, address: str, ready: Callable[[str], None], browser: bool) -> None:
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.02)
    ready(address)
    if browser:
        webbrowser.open(address)
