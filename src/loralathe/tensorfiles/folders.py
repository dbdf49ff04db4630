"""Models that lie in several files: shards with or without an index, and folders of networks.

| a path                                                    | is                                            |
|-----------------------------------------------------------|-----------------------------------------------|
| `….safetensors.index.json`, `….bin.index.json`            | the shards that it names                      |
| a folder of such an index, or of `…-00001-of-00003…`      | these shards                                  |
| a folder of `diffusion_pytorch_model…` or `model…`        | that file                                     |
| a folder with `model_index.json`, or of such folders      | all networks, each a folder: `unet`, `vae`, … |
| a folder of PEFT, or of such folders                      | the LoRA, or the LoRAs of all networks        |

As diffusers and transformers write them. A folder with other models beside them is a folder of models, and no
model. Where a network has several sets of files, one is read: safetensors
before pickles, the plain one before a variant (`….fp16.safetensors`), fp16 and bf16 before other variants.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loralathe.errors import InputError, few
from loralathe.tensorfiles.confined import require_readable
from loralathe.tensorfiles.input_files import MODEL_SUFFIXES, read_text

PIPELINE = "model_index.json"
"""In the folder of a pipeline, diffusers' list of its networks."""
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
"""How diffusers and transformers call the weights of a network."""
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin", "pytorch_lora_weights.safetensors")
"""How PEFT and diffusers call a LoRA in a folder."""
SUFFIXES = (".safetensors", ".bin")
VARIANTS = ("", "fp16", "bf16")
"""What is read where it is there, the first of them first; of others there must be one."""
MOST_FILES = 2000
"""Of one folder that are looked at; the largest models have some hundred shards."""
MOST_FOLDERS = 50
_INDEX = re.compile(r"(?P<stem>.+)(?P<suffix>\.safetensors|\.bin)\.index(?:\.(?P<variant>[\w-]+))?\.json")
_SHARD = re.compile(
    r"(?P<stem>.+?)(?:\.(?P<variant>[\w]+))?-(?P<number>\d{5})-of-(?P<count>\d{5})"
    r"(?P<suffix>\.safetensors|\.bin)"
)
_WHOLE = re.compile(rf"(?:{'|'.join(STEMS)})(?:\.(?P<variant>[\w-]+))?(?P<suffix>\.safetensors|\.bin)")
_AGAIN = "download or copy the folder again"


@dataclass(frozen=True)
class FolderPart:
    """A network that lies in files of its own.

    name:  of its folder; empty where the path is that folder, or an index in it
    files: that are read, in order;  variant: what stands in their names, such as 'fp16'
    index: tensor → file, as the index has it; empty without one
    """

    name: str
    files: tuple[Path, ...]
    variant: str = ""
    index: Mapping[str, str] = field(default_factory=dict, hash=False)
    where: str = ""


def is_folder_model(path: Path) -> bool:
    """Whether a model that is given by this path lies in several files, or in a folder."""
    return (path.name.endswith(".json") and _INDEX.fullmatch(path.name) is not None) or path.is_dir()


def holds_model(folder: Path) -> bool:
    """Whether this very folder is a model: a pipeline, or a network in shards or beside its config."""
    try:
        names = _names(folder)
    except InputError:
        return False
    sets = [] if _others(names) else _sets(names)
    return PIPELINE in names or any(one.index or one.count or "config.json" in names for one in sets)


def adapter_in(folder: Path) -> Path | None:
    """The LoRA in a folder of PEFT or diffusers."""
    return next((folder / name for name in ADAPTERS if (folder / name).is_file()), None)


def folder_parts(path: Path) -> tuple[FolderPart, ...]:
    """The networks of a folder, or of an index; nothing where it holds none.

    Raises InputError for shards that are missing, for an index that cannot be read, and for several sets of
    files of which none goes before the others.
    """
    require_readable(path)
    if not path.is_dir():
        return (_indexed("", path),)
    names = _names(path)
    if PIPELINE not in names and not _others(names) and (part := _part("", path)) is not None:
        return (part,)
    folders = [path / name for name in names if not name.startswith(".") and (path / name).is_dir()]
    if PIPELINE not in names and (adapters := _adapters(folders[:MOST_FOLDERS])):
        return adapters
    parts = [part for one in folders[:MOST_FOLDERS] if (part := _part(one.name, one)) is not None]
    known = PIPELINE in names or any((path / part.name / "config.json").is_file() for part in parts)
    diffusers = any(file.name.startswith(STEMS[0]) for part in parts for file in part.files)
    return tuple(parts) if known or diffusers else ()


def _adapters(folders: Iterable[Path]) -> tuple[FolderPart, ...]:
    """LoRAs of a pipeline, each network's in a folder of its own, as PEFT keeps them."""
    found = ((folder, adapter_in(folder)) for folder in folders)
    return tuple(FolderPart(folder.name, (file,), where=str(folder)) for folder, file in found if file)


def model_files(path: Path) -> list[Path]:
    """All files that a model is read from, the path itself where it is one file."""
    if not is_folder_model(path):
        return [path]
    if path.is_dir() and (adapter := adapter_in(path)):
        return [adapter]
    return [file for part in folder_parts(path) for file in part.files]


def read_config(path: Path) -> dict[str, object]:
    """A JSON object of a diffusers folder; {} where there is no such file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(read_text(path, "model's configuration"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError("the model's configuration is not a JSON object", where=str(path), fix=_AGAIN)
    return found


@dataclass(frozen=True)
class _Set:
    """Files that hold one network: an index, shards without one, or a file."""

    suffix: str
    variant: str
    index: str | None
    files: tuple[str, ...]
    count: int

    @property
    def rank(self) -> tuple[int, int, bool]:
        known = VARIANTS.index(self.variant) if self.variant in VARIANTS else len(VARIANTS)
        return SUFFIXES.index(self.suffix), known, self.index is None and not self.count


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry, _ in zip(entries, range(MOST_FILES), strict=False))
    except OSError as error:
        raise InputError(
            f"the folder cannot be read: {error.strerror}", where=str(folder), fix="check its permissions"
        ) from error
    return names


def _others(names: Iterable[str]) -> bool:
    """Whether there are models of other names."""
    files = (name for name in names if name.casefold().endswith(MODEL_SUFFIXES))
    return any(not _WHOLE.fullmatch(name) and not _SHARD.fullmatch(name) for name in files)


def _sets(names: Sequence[str]) -> list[_Set]:
    """The sets of files in a folder, the one to be read first."""
    found = []
    indexed: set[tuple[str, str]] = set()
    for name in names:
        if match := _INDEX.fullmatch(name):
            variant = match["variant"] or ""
            indexed.add((match["suffix"], variant))
            found.append(_Set(match["suffix"], variant, name, (), 0))
        elif match := _WHOLE.fullmatch(name):
            found.append(_Set(match["suffix"], match["variant"] or "", None, (name,), 0))
    shards: dict[tuple[str, str, str, int], list[str]] = {}
    for name in names:
        if match := _SHARD.fullmatch(name):
            key = (match["stem"], match["suffix"], match["variant"] or "", int(match["count"]))
            shards.setdefault(key, []).append(name)
    for (_, suffix, variant, count), files in shards.items():
        if (suffix, variant) not in indexed:
            found.append(_Set(suffix, variant, None, tuple(files), count))
    return sorted(found, key=lambda one: one.rank)


def _part(name: str, folder: Path) -> FolderPart | None:
    sets = _sets(_names(folder))
    if not sets:
        return None
    first, *others = sets
    if others and others[0].rank == first.rank:
        each = [one.index or one.files[0] for one in sets if one.rank == first.rank]
        raise InputError(
            "the folder holds several models, or several variants of one",
            where=f"{folder}: {few(each)}",
            fix="keep the one that you want in it, or name its file or its index",
        )
    if first.index is not None:
        return _indexed(name, folder / first.index)
    there = {int(match["number"]) for file in first.files if (match := _SHARD.fullmatch(file))}
    lost = [number for number in range(1, first.count + 1) if number not in there]
    if lost:
        names = [f"{number:05d}-of-{first.count:05d}" for number in lost]
        raise InputError(_missing(len(lost), first.count), where=f"{folder}: {few(names)}", fix=_AGAIN)
    files = tuple(folder / file for file in first.files)
    return FolderPart(name, files, first.variant, {}, str(folder))


def _indexed(name: str, path: Path) -> FolderPart:
    """The shards that an index names; each must be there, and lie beside it."""
    match = _INDEX.fullmatch(path.name)
    assert match is not None
    try:
        weights = json.loads(read_text(path, "index"))["weight_map"]
        index = {str(key): str(file) for key, file in weights.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(
            "this is no index of shards: it has no weight_map of tensors and files",
            where=str(path),
            fix=_AGAIN,
        ) from None
    files = list(dict.fromkeys(index.values()))
    if not files or len(files) > MOST_FILES:
        raise InputError(f"the index names {len(files):,} files", where=str(path), fix=_AGAIN)
    for file in files:
        if Path(file).name != file or "\\" in file or file in ("", ".", ".."):
            raise InputError(
                "the index names a file outside of its folder", where=f"{path}: {file}", fix=_AGAIN
            )
    lost = [file for file in files if not (path.parent / file).is_file()]
    if lost:
        raise InputError(_missing(len(lost), len(files)), where=f"{path.parent}: {few(lost)}", fix=_AGAIN)
    places = tuple(path.parent / file for file in sorted(files))
    return FolderPart(name, places, match["variant"] or "", index, str(path))


def _missing(lost: int, total: int) -> str:
    return "a shard is missing" if lost == 1 else f"{lost} of {total} shards are missing"


def models_in_folders(folder: Path) -> Iterator[Path]:
    """Folders under one that are models."""
    for place, inside, _ in os.walk(folder):
        here = Path(place)
        models = [name for name in sorted(inside) if holds_model(here / name)]
        yield from (here / name for name in models)
        inside[:] = sorted(set(inside) - set(models))
