"""`python -m loralathe.integrations`: what webui/loralathe_beside.py starts, and tells what to serve."""

from __future__ import annotations

import _thread
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from loralathe import LatheError, MachineError, json_text


def main() -> None:
    """The workshop's side: choices come on stdin, which stays open as long as it is wanted."""
    choices = json.loads(sys.stdin.readline())

    def ready(address: str) -> None:
        print(json_text({"address": address}), flush=True)
        os.dup2(2, 1)  # nobody reads further lines
        threading.Thread(target=_end_with_parent, daemon=True).start()

    try:
        from loralathe.workshop import Options, serve
    except ImportError as error:
        fix = f'{sys.executable} -m pip install "loralathe[ui,render]"'
        _tell(MachineError(f"the library {error.name} is missing", fix=fix))
        return
    folders: dict[str, Any] = {
        kind: [Path(one) for one in found] for kind, found in choices["folders"].items()
    }
    presets = choices["presets"]
    options = Options(
        Path(choices["out"]),
        **folders,
        port=0,
        presets=None if presets is None else Path(presets),
        frames=choices["frames"],
        programs={name: Path(folder) for name, folder in choices["programs"].items()},
    )
    try:
        serve(options, ready, browser=False)
    except LatheError as error:
        _tell(error)


def _tell(error: LatheError) -> None:
    print(json_text({"what": error.what, "where": error.where, "fix": error.fix}), flush=True)


def _end_with_parent() -> None:
    """As Ctrl-C, when the other end of stdin is closed: by `stop`, or because the program is gone."""
    sys.stdin.read()
    _thread.interrupt_main()


if __name__ == "__main__":
    main()
