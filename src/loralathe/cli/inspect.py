"""`lathe inspect`: what a file is, from its header alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from loralathe.cli.options import FilePath, LatheCommand, showing_options
from loralathe.cli.screen import Screen

if TYPE_CHECKING:
    from loralathe.inspection import Norm

EPILOG = """\b
Examples:
  lathe inspect hina.safetensors
  lathe inspect *.safetensors --json
  lathe inspect baseA.safetensors --norms --hash
  lathe inspect girl.png
"""


@click.command("inspect", cls=LatheCommand, epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=FilePath(), metavar="FILE…")
@click.option("--norms", is_flag=True, help="Norms per block, of weights or of an adapter's deltas.")
@click.option("--hash", "hashes", is_flag=True, help="AutoV1, AutoV2, and kohya's hashes of the weights.")
@showing_options
def inspect_command(
    files: tuple[Path, ...], norms: bool, hashes: bool, as_json: bool, quiet: bool, threads: int | None
) -> None:
    """What each FILE is and holds, from its header alone: no weights are read unless asked for.

    A picture (PNG) shows its infotext: prompt, seed, sampler and all else that made it.
    """
    from loralathe.cli.show_inspection import show_inspection
    from loralathe.cli.show_picture import show_picture
    from loralathe.inspection import inspect_file

    screen = Screen(as_json, quiet)
    for number, path in enumerate(files):
        if path.suffix.lower() == ".png":
            show_picture(screen, path, first=number == 0)
            continue
        seen = inspect_file(path)
        found_hashes = _hashes(path, screen, seen.format) if hashes else None
        found_norms = _norms(path, screen, threads) if norms else None
        show_inspection(screen, seen, found_norms, found_hashes, first=number == 0)


def _norms(path: Path, screen: Screen, threads: int | None) -> list[Norm]:
    from loralathe.inspection import block_norms

    return block_norms(path, screen.progress(), threads)


def _hashes(path: Path, screen: Screen, kind: str) -> dict[str, str]:
    from loralathe.tensorfiles import autov1, content_hash, legacy_hash, model_hash

    whole = content_hash(path, progress=screen.progress())
    found = {"AutoV1": autov1(path), "AutoV2": whole[:10], "SHA-256": whole}
    if kind == "safetensors":  # kohya's hashes are of safetensors' data section
        found |= {"sshs_model_hash": model_hash(path), "sshs_legacy_hash": legacy_hash(path)}
    return found
