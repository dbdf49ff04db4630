"""Where A1111, Forge and ComfyUI keep their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from loralathe.api.arguments import PathLike

__all__ = ["PROGRAM_FOLDERS", "program_folders"]

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
