"""What the command line remembers: the folders of LoRAs, checkpoints and VAEs, in a small TOML file.

The other functions of the library do not read it: they take folders as arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from loralathe.api.arguments import Folders, folders_of
from loralathe.errors import InputError, MachineError, did_you_mean
from loralathe.language import read_toml, toml_text
from loralathe.tensorfiles import config_file, text_bytes, write_whole

__all__ = ["REMEMBERED", "config_file", "forget", "read_config", "remember"]

REMEMBERED = ("lora_dir", "checkpoint_dir", "vae_dir", "embeddings")


def read_config() -> dict[str, tuple[Path, ...]]:
    """Name → the folders that are remembered under it. InputError for a damaged file."""
    file = config_file()
    if file is None or not file.is_file():
        return {}
    found: dict[str, tuple[Path, ...]] = {}
    for name, value in read_toml(file, "config").items():
        require_remembered(name, str(file))
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise InputError(
                f"'{name}' must be a list of texts", where=str(file), fix=f'write {name} = ["…"]'
            )
        found[name] = tuple(map(Path, value))
    return found


def remember(name: str, folders: Folders) -> Path:
    """Remember folders in place of those before; the file. InputError for a folder that does not exist."""
    require_remembered(name)
    places = [folder.expanduser().resolve() for folder in folders_of(folders)]
    for place in places:
        if not place.is_dir():
            raise InputError("there is no such folder", where=str(place), fix="check the path")
    return _write({**read_config(), name: tuple(places)})


def forget(name: str) -> Path:
    """Remember no folders under this name; the file."""
    require_remembered(name)
    return _write({key: folders for key, folders in read_config().items() if key != name})


def require_remembered(name: str, where: str | None = None) -> None:
    """InputError, with close names, for what is not remembered."""
    if name not in REMEMBERED:
        raise InputError(
            f"'{name}' cannot be remembered",
            where=where,
            fix=did_you_mean(name, REMEMBERED) or f"what can be: {', '.join(REMEMBERED)}",
        )


def _write(config: Mapping[str, tuple[Path, ...]]) -> Path:
    file = config_file()
    if file is None:
        raise MachineError("this user has no home folder", fix="name a file in the variable LORALATHE_CONFIG")
    lines = [
        f"{name} = [{', '.join(toml_text(str(folder)) for folder in config[name])}]\n"
        for name in REMEMBERED
        if name in config
    ]
    write_whole(file, text_bytes("".join(lines), str(file)))
    return file
