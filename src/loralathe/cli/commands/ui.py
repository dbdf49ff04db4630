"""`lathe ui`: the workshop, the same work in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from loralathe import MachineError
from loralathe.cli.options import FilePath, LatheCommand, Whole
from loralathe.cli.screen import Screen

F = TypeVar("F", bound=Callable[..., object])
EPILOG = """\b
It serves your folders to your own browser, and nobody else: everything stays on this machine. For
another address than this machine's own, such as --host 0.0.0.0, it prints an address with a
token, which a browser needs once. Needs loralathe[ui,render].

Without folders, it opens on the tiny models of `lathe demo`, to try it out.

\b
Examples:
  lathe ui
  lathe ui --checkpoints models --loras loras --out results
  lathe ui --webui stable-diffusion-webui
  lathe ui --comfyui ComfyUI --port 7871
"""
PROGRAMS = ("webui", "comfyui")
REMEMBERED = {
    "checkpoints": "checkpoint_dir",
    "loras": "lora_dir",
    "vaes": "vae_dir",
    "embeddings": "embeddings",
}


def _folder(name: str, what: str) -> Callable[[F], F]:
    text = f"Folder of {what}; repeatable. Default: see lathe config."
    return click.option(f"--{name}", multiple=True, type=FilePath(), metavar="DIR", help=text)


@click.command(
    "ui",
    cls=LatheCommand,
    section="Pictures",
    short_help="Open the workshop: the whole method in your browser.",
    epilog=EPILOG,
)
@_folder("checkpoints", "checkpoints")
@_folder("loras", "LoRAs")
@_folder("vaes", "VAEs")
@_folder("embeddings", "embeddings")
@click.option(
    "--faces",
    multiple=True,
    type=FilePath(),
    metavar="DIR",
    help="Folder of ONNX models that recognise faces or characters; repeatable.",
)
@click.option("--webui", type=FilePath(), metavar="DIR", help="Folder of A1111 or Forge: use its models.")
@click.option("--comfyui", type=FilePath(), metavar="DIR", help="Folder of ComfyUI: use its models.")
@click.option(
    "-o",
    "--out",
    type=FilePath(),
    default="workshop",
    metavar="DIR",
    help="Where everything that is made goes. Default: workshop.",
)
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Default: 127.0.0.1.")
@click.option("--port", type=Whole(0, 65535), default=7870, metavar="N", help="Default: 7870.")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout, text on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but errors.")
def ui_command(
    out: Path, host: str, port: int, no_browser: bool, as_json: bool, quiet: bool, **given: Any
) -> None:
    """Open the workshop: test, find blocks, merge, extract and prove, in the browser."""
    try:
        from loralathe.workshop import Options, serve
    except ImportError as error:
        fix = 'pip install "loralathe[ui,render]"'
        raise MachineError(f"the library {error.name} is missing", fix=fix) from error

    screen = Screen(as_json, quiet)
    folders = {name: [*given[name], *_found(name, given)] for name in REMEMBERED}
    faces = [*given["faces"], *_found("faces", given)]
    if not any(folders.values()):
        folders = _remembered()
    demo = not any(folders.values())
    start: dict[str, Any] = {}
    if demo:
        folders, judge, start = _demo(out)
        faces.append(judge)
    programs = {name: given[name] for name in PROGRAMS if given[name] is not None}
    found: dict[str, Any] = {**folders, "faces": faces, "programs": programs}
    options = Options(out, **found, host=host, port=port, start=start, demo=demo)

    def ready(address: str) -> None:
        screen.event("ready", address=address)
        screen.show(f"The workshop is open at {address}")
        screen.show("It stays open until Ctrl-C.")

    serve(options, ready, browser=not no_browser)


def _found(name: str, given: dict[str, Any]) -> list[Path]:
    """The folders of other programs that are there."""
    from loralathe import program_folders

    return [one for program in PROGRAMS for one in program_folders(program, given[program], name)]


def _remembered() -> dict[str, list[Path]]:
    from loralathe import read_config

    config = read_config()
    return {name: [one for one in config.get(key, ()) if one.is_dir()] for name, key in REMEMBERED.items()}


def _demo(out: Path) -> tuple[dict[str, list[Path]], Path, dict[str, Any]]:
    """The tiny family, the folder of its judge, and what the forms hold at first."""
    from loralathe.demo import start_of_forms, unpack_family, unpack_judge

    folder, judge = out / "demo", out / "judge"
    unpack_family(folder)
    unpack_judge(judge)
    folders = {"checkpoints": [folder], "loras": [folder], "vaes": [], "embeddings": []}
    return folders, judge, start_of_forms()
