"""A folder of tiny inputs, and the question that every fault ends with: is all as it was before?"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.engine import Report, RunOptions, run_recipe
from loralathe.errors import LatheError
from loralathe.language import Recipe, Save, make_recipe

if TYPE_CHECKING:
    import torch

SOURCE = Path(__file__).resolve().parents[2] / "src"
DIVISOR = 64
"""An SD 1.5 file of half a megabyte: faults are about files and formulas, not about widths."""

Tensors = dict[str, "torch.Tensor"]
MERGE = "A + 0.7*lora"


def sd1_pair() -> tuple[Tensors, Tensors]:
    first = tiny_checkpoint("sd1", seed=1, width_divisor=DIVISOR)
    return first, second_checkpoint(first, 1e-2, 2)


def sd1_lora() -> Tensors:
    return tiny_lora("sd1", rank=2, alpha=1.0, seed=3, width_divisor=DIVISOR)


def write_inputs(folder: Path) -> None:
    """A.safetensors, B.safetensors and lora.safetensors."""
    first, second = sd1_pair()
    write_safetensors(folder / "A.safetensors", first)
    write_safetensors(folder / "B.safetensors", second)
    write_safetensors(folder / "lora.safetensors", sd1_lora())


def write_flux_inputs(folder: Path) -> None:
    """The same names as Flux files of 92 tensors, a twelfth of SD 1.5's; runs take as much less."""
    first = tiny_checkpoint("flux-alone", seed=1, width_divisor=DIVISOR)
    write_safetensors(folder / "A.safetensors", first)
    write_safetensors(folder / "B.safetensors", second_checkpoint(first, 1e-2, 2))
    lora = tiny_lora("flux-alone", rank=2, alpha=1.0, seed=3, width_divisor=DIVISOR)
    write_safetensors(folder / "lora.safetensors", lora)


def recipe_in(
    folder: Path,
    formula: str = MERGE,
    *,
    out: str | Path = "out.safetensors",
    variables: Mapping[str, float] | None = None,
    blocks: Mapping[str, str] | None = None,
    dtype: str | None = None,
    **inputs: str | Path,
) -> Recipe:
    """`out = formula` over A, B and lora of a folder; keywords add inputs or put others in their place."""
    names: dict[str, str | Path] = {"A": "A.safetensors", "B": "B.safetensors", "lora": "lora.safetensors"}
    return make_recipe(
        inputs={name: folder / path for name, path in (names | inputs).items()},
        steps={"out": formula},
        variables=variables,
        blocks=blocks,
        saves=[Save("out", folder / out, dtype)],
    )


def run_in(
    folder: Path, formula: str = MERGE, *, options: RunOptions | None = None, **rest: object
) -> Report:
    return run_recipe(recipe_in(folder, formula, **rest), options or RunOptions(threads=1))  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, tuple[str, str]]:
    """Every name below `folder`, hidden ones too, with what it holds."""
    return {str(path.relative_to(folder)): _fingerprint(path) for path in sorted(folder.rglob("*"))}


def _fingerprint(path: Path) -> tuple[str, str]:
    if path.is_symlink():
        return "link", os.readlink(path)
    if path.is_dir():
        return "folder", ""
    return "file", hashlib.sha256(path.read_bytes()).hexdigest()


Says = tuple[str, str | None, str | None]
"""what, where and fix of an error; DIR stands for the folder of the inputs."""


@dataclass
class Fault:
    """What `refused` caught."""

    error: LatheError | None = None

    def says(self, folder: Path) -> Says:
        assert self.error is not None
        what, where, fix = (
            None if text is None else text.replace(str(folder), "DIR")
            for text in (self.error.what, self.error.where, self.error.fix)
        )
        assert what is not None
        return what, where, fix


@contextmanager
def refused(folder: Path, kind: type[LatheError]) -> Iterator[Fault]:
    """The block must raise exactly `kind` and leave every file in `folder` as it was, with nothing added."""
    before = contents(folder)
    fault = Fault()
    with pytest.raises(LatheError) as caught:
        yield fault
    assert type(caught.value) is kind, repr(caught.value)
    assert contents(folder) == before
    fault.error = caught.value


def edit_header(path: Path, edit: Callable[[dict[str, dict[str, object]]], None]) -> Path:
    """Change a safetensors header in place, leaving the data as it is."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    table = json.loads(data[8 : 8 + length])
    edit(table)
    text = json.dumps(table, ensure_ascii=False).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return path
