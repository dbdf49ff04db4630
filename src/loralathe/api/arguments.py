"""What the functions take: files or tensors, options as keywords, and the names that results get."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

from loralathe.errors import InputError, about, did_you_mean, option
from loralathe.language import stem
from loralathe.tensorfiles import MemoryPath, in_memory, stored_path

if TYPE_CHECKING:
    from loralathe.engine import RunOptions
    from loralathe.progress import Progress

PathLike = str | os.PathLike[str]
File = PathLike | Mapping[str, Any]
"""A path, or an open state dict: a mapping of names to torch tensors or numpy arrays."""
Inputs = Mapping[str, File]
Folders = PathLike | Sequence[PathLike]
Presets = PathLike | Mapping[str, str]
"""Block lists by name, or a file of them (lbwpresets.txt)."""

MEMORY = in_memory({}, "result")
"""As an output: no file is written, the tensors are in the report."""

SUFFIX = ".safetensors"
LONGEST = 120
"""Bytes of a file name that is made up; file systems take 255."""
MIX = "to mix two checkpoints, use weighted-sum or add-difference"
FACTORS = "to work on LoRAs without a checkpoint, use combine or resize"


class SearchKeywords(TypedDict, total=False):
    """Folders in which files are found by name, besides the current one; the ending may be left out."""

    lora_dir: Folders
    checkpoint_dir: Folders


class RunKeywords(SearchKeywords, total=False):
    """The fields of `RunOptions`, which says what they mean; memory also as "2GB", presets also as a file."""

    device: str
    threads: int | None
    memory: int | str
    force: bool
    allow_unmatched: bool
    missing_blocks: Literal[0, 1] | None
    check_finite: bool
    hash_inputs: bool
    presets: Presets


class SaveKeywords(RunKeywords, total=False):
    """How a checkpoint is saved, besides: the fields of `Save`, which says what they mean."""

    vae: PathLike | None
    discard: str | None
    metadata: Mapping[str, str]
    metadata_from: str
    config_from: str


SAVING = ("vae", "discard", "metadata", "metadata_from", "config_from")


def run_options(
    options: RunOptions | None, keywords: RunKeywords, progress: Progress | None = None
) -> RunOptions:
    """`options` with the keywords on top; InputError for a keyword that does not exist."""
    from loralathe.engine import RunOptions
    from loralathe.strengths import parse_size

    require_known(keywords, RunKeywords.__annotations__)
    plain: dict[str, Any] = {**keywords}
    for name in SearchKeywords.__annotations__:
        plain.pop(name, None)
    if isinstance(memory := plain.get("memory"), str):
        with about("memory"):
            plain["memory"] = parse_size(memory)
    if "presets" in plain:
        plain["presets"] = block_presets(plain["presets"], progress)
    return replace(options or RunOptions(), **plain)


def block_presets(presets: Presets | None, progress: Progress | None = None) -> Mapping[str, str]:
    """Block lists by name; lines of a file that are broken are told and passed over."""
    from loralathe.strengths import read_preset_file

    if presets is None or isinstance(presets, Mapping):
        return presets or {}
    found = read_preset_file(Path(presets))
    tell_problems(Path(presets), found.problems, progress)
    return dict(found.presets)


def tell_problems(path: Path, problems: Iterable[object], progress: Progress | None) -> None:
    for problem in problems:
        if progress is not None:
            progress.message(f"{path.name}, {problem}")


def split_keywords(keywords: SaveKeywords) -> tuple[dict[str, object], RunKeywords]:
    """Those of saving, as fields of `Save`, and those of the run; InputError for one that does not exist."""
    require_known(keywords, (*SAVING, *RunKeywords.__annotations__))
    saving: dict[str, object] = {name: value for name, value in keywords.items() if name in SAVING}
    if (vae := keywords.get("vae")) is not None:
        saving["vae"] = Path(vae)
    rest = {name: value for name, value in keywords.items() if name not in SAVING}
    return saving, cast(RunKeywords, rest)


def require_known(keywords: Iterable[str], names: Iterable[str]) -> None:
    """InputError for a keyword that is none of `names`."""
    known = list(names)
    for name in keywords:
        if name not in known:
            fix = did_you_mean(name, known) or "options are " + ", ".join(known)
            raise InputError(f"there is no option '{name}'", fix=fix)


def texts(given: str | Sequence[str]) -> list[str]:
    """One text, or several."""
    return [given] if isinstance(given, str) else list(given)


def as_path(given: File, name: str) -> Path:
    """The path of a file, or of tensors in memory, which formulas and messages call `name`."""
    if isinstance(given, Mapping):
        return in_memory(given, name)
    return given if isinstance(given, MemoryPath) else stored_path(Path(given))


def folders_of(given: Folders) -> tuple[Path, ...]:
    """One folder, or several."""
    folders = (given,) if isinstance(given, (str, os.PathLike)) else given
    return tuple(stored_path(Path(folder)) for folder in folders)


def as_output(output: PathLike | None) -> Path | None:
    return None if output is None else as_path(output, "")


def require_kinds(checkpoints: Iterable[Path], adapters: Iterable[Path] = (), *, fix: str = FACTORS) -> None:
    """InputError for the first file of the wrong kind; `fix` is for a LoRA where a checkpoint belongs.

    Formulas take both anywhere; in `merge(base, adapter)` a file in the wrong place is a mistake that would
    be merged, or refused in words of algebra. Raises InputError, too, for files that cannot be read.
    """
    for path in checkpoints:
        if _is_adapter(path):
            raise InputError("this is a LoRA, not a checkpoint", where=str(path), fix=fix)
    for path in adapters:
        if not _is_adapter(path):
            raise _not_a_lora(path)


def _not_a_lora(path: Path) -> InputError:
    from loralathe.adapters import no_adapter
    from loralathe.families import FAMILIES, original_header

    tensors = original_header(path).tensors
    if any(family.signature.matches(tensors) for family in FAMILIES):
        return InputError("this is not a LoRA", where=str(path), fix=MIX)
    return no_adapter(tensors, str(path))


def _is_adapter(path: Path) -> bool:
    from loralathe.adapters import is_adapter
    from loralathe.tensorfiles import read_header

    return is_adapter(path, read_header(path).tensors)


def harmless(name: str) -> str:
    """A name without the characters that some file system refuses; it may be empty."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "", name).strip(". ")


def beside(first: Path, name: str) -> Path:
    """A result's file: beside the first input, its name made harmless and not too long.

    Raises InputError where the first input is in memory.
    """
    if isinstance(first, MemoryPath):
        raise InputError(
            "the result of tensors in memory needs a name",
            fix=f"give {option('output', 'FILE')}, or {option('output', 'MEMORY')} for tensors again",
        )
    if first.name.endswith(".json"):  # an index: not among the shards
        first = first.absolute().parent
    clean = harmless(name) or "result"
    while len(os.fsencode(clean)) > LONGEST:
        clean = clean[:-1]
    return first.with_name(clean + SUFFIX)


def formula_name(formula: str, inputs: Mapping[str, Path]) -> str:
    """`B + 0.8*lora@X` → `baseB+0.8lora@X`: the formula with the files' own names, fit for a file name."""

    def own(match: re.Match[str]) -> str:
        path = inputs.get(match[0])
        return stem(path) if path else match[0]

    return re.sub(r"[^\W\d]\w*", own, re.sub(r"\s+", "", formula))
