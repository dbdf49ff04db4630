"""`lathe check`: will this LoRA load there?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe import command_for, counted, few
from loralathe.cli.folders import folder_options
from loralathe.cli.guard import DONE, INPUT
from loralathe.cli.options import FilePath, LatheCommand, showing_options
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Facts

if TYPE_CHECKING:
    from loralathe import LoadingCheck

EPILOG = """\b
Examples:
  lathe check hina.safetensors
  lathe check hina.safetensors --in comfyui
  lathe check hina.safetensors --in forge --in diffusers --json
"""
PROGRAMS = ("comfyui", "forge", "diffusers", "kohya")


@click.command(
    "check",
    cls=LatheCommand,
    section="Look at files",
    short_help="Check whether other programs load a LoRA as it is meant.",
    epilog=EPILOG,
)
@click.argument("lora", type=FilePath(), metavar="LORA")
@click.option(
    "--in",
    "programs",
    multiple=True,
    type=click.Choice(PROGRAMS),
    metavar="NAME",
    help="comfyui, forge (A1111, too), diffusers or kohya (sd-scripts); repeatable. Default: all.",
)
@folder_options("lora_dir")
@showing_options
def check_command(
    lora: Path, programs: tuple[str, ...], as_json: bool, quiet: bool, threads: int | None, **folders: Any
) -> int:
    """Tell how many modules of LORA each program would use, and which command helps.

    Modules that a program would silently leave out, or apply wrongly, are listed. Exit code 0: every module
    is used as it is meant. 2: some are not.
    """
    import loralathe

    screen = Screen(as_json, quiet)
    found = loralathe.check_lora(lora, programs, **folders)
    for number, one in enumerate(found):
        screen.event("loading", ok=one.ok, loading=one, mend=_mend(one))
        screen.result(*([""] if number else []), heading(_title(one)), Facts(_facts(one)))
        if (mend := _mend(one)) is not None:
            screen.verbatim(f"  {mend}")
    return DONE if all(one.ok for one in found) else INPUT


def _title(found: LoadingCheck) -> str:
    if found.refused is not None:
        return f"{found.label} refuses {found.path.name}"
    if found.ok:
        return f"{found.label} uses all {counted(found.modules, 'module')} of {found.path.name}"
    return f"{found.label} uses {found.used} of {counted(found.modules, 'module')} of {found.path.name}"


def _facts(found: LoadingCheck) -> list[tuple[str, str]]:
    rows = [] if found.refused is None else [("refused", found.refused)]
    rows += [
        (one.verdict, f"{len(one.modules)}: {one.why}, such as {few(one.modules)}") for one in found.findings
    ]
    return rows


def _mend(found: LoadingCheck) -> str | None:
    if found.to is None:
        return None
    options = {"to": found.to, **({"bake": "BASE"} if found.bake else {})}
    return command_for(os.name, "convert", [str(found.path)], options)
