"""Models from one file, a diffusers folder or memory; configurations come from shapes, nothing from a hub."""

from loralathe.rendering.loading.checkpoint import open_folder, open_model
from loralathe.rendering.loading.denoisers import Rows
from loralathe.rendering.loading.model import Model, TextEncoder
from loralathe.rendering.loading.networks import load_vae
from loralathe.rendering.loading.parts import PartFiles, find_parts
from loralathe.rendering.loading.weights import FileWeights, MemoryWeights, Weights

__all__ = [
    "FileWeights", "MemoryWeights", "Model", "PartFiles", "Rows", "TextEncoder", "Weights",
    "find_parts", "load_vae",
    "open_folder", "open_model",
]  # fmt: skip
