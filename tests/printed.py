"""Commands that pages print, and whether bash, PowerShell and cmd.exe all read them alike."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = "lathe|pip|py"
_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_COMMAND = re.compile(rf"(?:\$ )?((?:{PROGRAMS}) .*)")
_FILE = re.compile(r"\.(?:safetensors|toml|ckpt|pt|png)\b")


def commands_in(text: str) -> list[str]:
    """Every command of a Markdown page: lines of its blocks, and code within lines that names a file."""
    blocks = [line for block in _FENCED.findall(text) for line in block.splitlines()]
    inline = [
        code for code in _INLINE.findall(_FENCED.sub("", text)) if _FILE.search(code) or "pip" in code[:4]
    ]
    return [match[1] for line in [*blocks, *inline] if (match := _COMMAND.fullmatch(line))]


def fault(command: str) -> str | None:
    """What one of the shells would read as something else; None for a command that is safe in all.

    cmd.exe knows no comments and no single quotes; to PowerShell a bare comma makes a list, and `@`, `{` and
    `;` mean something; within double quotes `$`, backticks, `!` and a quote are replaced by one of them.
    """
    if command.endswith(("\\", "^", "`")):
        return "goes on in the next line"
    outside = re.sub(r'"[^"]*"', "", command)
    if found := re.search(r"""[',;()<>&|^@`{}$#!%~"…]|\\$""", outside):
        return f"{found[0]} stands outside of double quotes"
    if found := re.search(r'[$`!%]|\\"', "".join(re.findall(r'"[^"]*"', command))):
        return f"{found[0]} stands within double quotes"
    return None
