"""The names that axes choose from, gathered from folders of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from loralathe.families import Family
from loralathe.studies.cell_builder import Context, RecipeSource
from loralathe.tensorfiles import MODEL_SUFFIXES


def gather_context(
    family: Family,
    *,
    lora_dirs: Iterable[Path] = (),
    checkpoint_dirs: Iterable[Path] = (),
    vae_dirs: Iterable[Path] = (),
    presets: Mapping[str, str] | None = None,
    element_presets: Mapping[str, str] | None = None,
    recipe: RecipeSource | None = None,
) -> Context:
    """Names of files, samplers, presets and blocks for a family. Imports torch (the samplers' table)."""
    from loralathe.rendering.samplers import SAMPLERS, SCHEDULES

    return Context(
        loras=files_by_name(lora_dirs),
        checkpoints=files_by_name(checkpoint_dirs),
        vaes=files_by_name(vae_dirs),
        samplers=tuple(SAMPLERS),
        schedules=("Automatic", *SCHEDULES),
        presets=dict(presets or {}),
        element_presets=dict(element_presets or {}),
        family=family,
        recipe=recipe,
    )


def files_by_name(folders: Iterable[Path]) -> dict[str, str]:
    """Stem → path for every model file under the folders; of equal stems each is `folder/stem` as well.

    A stem that several files share names none of them alone.
    """
    found: dict[str, list[tuple[str, Path]]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in MODEL_SUFFIXES and path.is_file():
                relative = path.relative_to(folder).with_suffix("").as_posix()
                found.setdefault(path.stem, []).append((relative, path))
    names: dict[str, str] = {}
    for stem, files in found.items():
        if len(files) == 1:
            names[stem] = str(files[0][1])
        names |= {relative: str(path) for relative, path in files if "/" in relative}
    return names
