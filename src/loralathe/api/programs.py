"""Where A1111, Forge and ComfyUI keep their files, and the door that our parts of them open."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.arguments import PathLike

if TYPE_CHECKING:
    from loralathe.rendering.elsewhere.parts import PartsDoor

__all__ = ["PROGRAM_FOLDERS", "parts_door", "program_folders"]

PROGRAM_FOLDERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "webui": {
        "checkpoints": ("models/Stable-diffusion",),
        "loras": ("models/Lora", "models/LyCORIS"),
        "vaes": ("models/VAE",),
        "embeddings": ("embeddings",),
        "faces": ("models/insightface",),
    },
    "comfyui": {
        "checkpoints": ("models/checkpoints", "models/diffusion_models", "models/unet"),
        "loras": ("models/loras",),
        "vaes": ("models/vae",),
        "embeddings": ("models/embeddings",),
        "faces": ("models/insightface",),
    },
}
"""Program → kind of file → its folders inside that of the program."""


def program_folders(program: str, folder: PathLike | None, kind: str) -> tuple[Path, ...]:
    """Those that are there: `program_folders("comfyui", "ComfyUI", "loras")`."""
    if folder is None:
        return ()
    inside = (Path(folder) / name for name in PROGRAM_FOLDERS[program][kind])
    return tuple(place for place in inside if place.is_dir())


def parts_door(folder: PathLike, secret: PathLike) -> PartsDoor:
    """The door of a program through which `--on` brings parts of LoRAs: for routes of that program's server.

    folder: of its LoRAs;  secret: the file of the token, made if it is not there; one whose token is shorter
    than 24 characters keeps the door closed. Raises MachineError where that file cannot be kept.
    """
    from loralathe.rendering.elsewhere.parts import PartsDoor

    return PartsDoor(Path(folder), Path(secret))
