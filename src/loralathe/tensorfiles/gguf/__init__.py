"""GGUF files, as ComfyUI-GGUF and stable-diffusion.cpp use them for image models: their tensors, not more.

The header is read here, within bounds; the numbers of quantised blocks are made by the `gguf` package.
"""

from loralathe.tensorfiles.gguf.structure import MARK, read_gguf

__all__ = ["MARK", "read_gguf"]
