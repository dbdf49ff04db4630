"""The names that axes choose from: files, samplers, presets, and a recipe's variables."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from loralathe.adapters import models_below
from loralathe.families import FAMILIES, Family


class RecipeSource(Protocol):
    """A recipe whose variables a grid can sweep; nothing is written to disk."""

    @property
    def identity(self) -> str:
        """Changes whenever the recipe's text or one of its input files changes."""

    @property
    def file(self) -> str:
        """Where the recipe is, for the command that repeats a cell."""

    @property
    def step(self) -> str:
        """Which step of it makes the model."""

    @property
    def variables(self) -> Mapping[str, float]:
        """Names and default values."""

    def check(self, variables: Mapping[str, float]) -> None:
        """Raise InputError for values that the recipe cannot be evaluated with, as far as headers tell."""

    def evaluate(self, variables: Mapping[str, float]) -> str:
        """A handle that the renderer takes as `ImageRequest.checkpoint`."""


@dataclass(frozen=True)
class Context:
    """The names that axes choose from. An empty table is not checked against; a file name must then exist.

    drawn_by: the program that draws, where it is another one: its pictures have names of their own.
    """

    loras: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    vaes: Mapping[str, str] = field(default_factory=dict)
    embeddings: Mapping[str, str] = field(default_factory=dict)
    samplers: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()
    presets: Mapping[str, str] = field(default_factory=dict)
    element_presets: Mapping[str, str] = field(default_factory=dict)
    family: Family = FAMILIES[0]
    recipe: RecipeSource | None = None
    drawn_by: str = ""
    draw_seed: Callable[[], int] = lambda: secrets.randbelow(2**32 - 1)

    @property
    def facts(self) -> dict[str, object]:
        """What the folder of a study remembers of it."""
        found: dict[str, object] = {"drawn_by": self.drawn_by or "loralathe"}
        return found if self.recipe is None else {**found, "recipe": self.recipe.file}


def gather_context(
    family: Family,
    *,
    lora_dirs: Iterable[Path] = (),
    checkpoint_dirs: Iterable[Path] = (),
    vae_dirs: Iterable[Path] = (),
    embedding_dirs: Iterable[Path] = (),
    presets: Mapping[str, str] | None = None,
    element_presets: Mapping[str, str] | None = None,
    recipe: RecipeSource | None = None,
    drawn_by: str = "",
) -> Context:
    """Names of files, samplers, presets and blocks for a family. Imports torch (the samplers' table)."""
    from loralathe.rendering.samplers import SAMPLERS, SCHEDULES

    return Context(
        loras=files_by_name(lora_dirs),
        checkpoints=files_by_name(checkpoint_dirs),
        vaes=files_by_name(vae_dirs),
        embeddings=files_by_name(embedding_dirs),
        samplers=tuple(SAMPLERS),
        schedules=("Automatic", *SCHEDULES),
        presets=dict(presets or {}),
        element_presets=dict(element_presets or {}),
        family=family,
        recipe=recipe,
        drawn_by=drawn_by,
    )


def files_by_name(folders: Iterable[Path]) -> dict[str, str]:
    """Stem → path for every model file under the folders; of equal stems each is `folder/stem` as well.

    A stem that several files share names none of them alone. A file in a folder inside of another one is
    one file, called by either.
    """
    found: dict[str, dict[Path, tuple[Path, list[str]]]] = {}
    for folder in folders:
        for path in models_below(folder):
            relative = path.relative_to(folder).with_suffix("").as_posix()
            files = found.setdefault(path.stem, {})
            files.setdefault(path.absolute(), (path, []))[1].append(relative)
    names: dict[str, str] = {}
    for stem, files in found.items():
        if len(files) == 1:
            names[stem] = str(next(iter(files.values()))[0])
        for path, called in files.values():
            qualified = [name if "/" in name else f"{path.parent.name}/{stem}" for name in called]
            names |= {name: str(path) for name in (called if len(files) == 1 else qualified) if "/" in name}
    return names
