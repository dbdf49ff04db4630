"""The folders that the workshop may use. Its files are called `PLACE/path/below`, and nothing else is one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from loralathe import InputError, did_you_mean, model_files

OUT = "out"
MODELS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
OTHERS = (".onnx", ".card")
"""Models that look at pictures, and identity cards."""
LONGEST = 400
PICTURES = "pictures"
"""The folder in `out` of pictures that a person gave."""
OWN = ("profiles", "recipes", PICTURES, "lbwpresets.txt", "workshop.sqlite")
"""What the workshop itself keeps in `out`."""
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """A folder under a name. kind: checkpoint, lora, vae, embedding, face or out."""

    name: str
    kind: str
    folder: Path


class Places:
    """The folders by name; the one for results is called `out`.

    programs: those that may draw in place of this one, and their folders: `comfyui`, `webui`.
    """

    def __init__(self, places: Iterable[Place], programs: Mapping[str, Path] | None = None) -> None:
        self.programs = dict(programs or {})
        self._places = {one.name: one for one in places}
        self._real = {name: Path(os.path.realpath(one.folder)) for name, one in self._places.items()}

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())

    @property
    def out(self) -> Path:
        return self._places[OUT].folder

    def folders(self, *kinds: str) -> tuple[Path, ...]:
        """Those of these kinds, and of results, which are checkpoints and LoRAs, too."""
        return tuple(one.folder for one in self if one.kind in (*kinds, "out"))

    def locate(self, name: str) -> Path:
        """Where a name leads, be it there or not. InputError for what is outside of the folders."""
        first, _, rest = name.partition("/")
        place = self._places.get(first)
        if place is None:
            fix = did_you_mean(first, self._places) or f"folders are {', '.join(self._places)}"
            raise InputError(f"there is no folder called '{first}'", where=name, fix=fix)
        parts = _checked(rest, name)
        path = place.folder.joinpath(*parts)
        if not self._contains(first, path):
            raise _outside(name)
        return path

    def file(self, name: str) -> Path:
        """A file that is there; the ending of a model may be left out. InputError for others."""
        path = self.locate(name)
        endings = [""] if path.suffix.lower() in MODELS else ["", *MODELS]
        for ending in endings:
            found = path.with_name(path.name + ending)
            if os.path.isfile(found) and self.name(found):
                return found
        if os.path.isdir(path):
            if model_files(path) and self.name(path):
                return path
            raise InputError("this is a folder, not a file", where=name, fix="choose a file in it")
        raise InputError("there is no such file", where=name, fix="it was moved or deleted: choose another")

    def output(self, name: str, ending: str = "") -> Path:
        """Where a result called `name` goes, inside `out`; InputError for names that are no names.

        Other places that lie in `out`, and what the workshop keeps there itself, are no places for results.
        """
        name = name.removeprefix(OUT + "/")
        path = self.locate(f"{OUT}/{name}")
        kept = name.partition("/")[0].casefold() in OWN
        if kept or not str(self.name(path)).startswith(OUT + "/"):
            raise InputError(f"'{name}' is taken", fix="choose another name")
        return path.with_name(path.name + ending) if ending and path.suffix.lower() != ending else path

    def name(self, path: str | os.PathLike[str]) -> str | None:
        """What a file is called here; None for one outside. A relative path is below `out`."""
        real = Path(os.path.realpath(self.out / path))
        roots = [name for name, root in self._real.items() if real.is_relative_to(root)]
        if not roots:
            return None
        name = max(roots, key=lambda one: len(self._real[one].parts))
        inside = real.relative_to(self._real[name]).as_posix()
        return name if inside == "." else f"{name}/{inside}"

    def _contains(self, name: str, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._real[name])


def _checked(rest: str, name: str) -> list[str]:
    parts = rest.split("/")
    if len(name) > LONGEST:
        raise InputError(f"the name is longer than {LONGEST} characters", fix="choose a shorter one")
    if not rest or any(part in ("", ".", "..") for part in parts):
        raise _outside(name)
    for part in parts:
        bad = _FORBIDDEN.search(part)
        if bad or _RESERVED.fullmatch(part) or part != part.strip(" "):
            what = f"the character {bad[0]!r}" if bad else f"the name '{part}'"
            raise InputError(f"{what} cannot be in the name of a file", where=name, fix="choose another name")
    return parts


def _outside(name: str) -> InputError:
    return InputError(
        "this is outside of the folders of the workshop", where=name, fix="choose a file in them"
    )
