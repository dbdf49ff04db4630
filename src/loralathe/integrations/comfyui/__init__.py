"""loralathe's nodes for ComfyUI. This folder is copied into `custom_nodes`: `lathe install comfyui DIR`.

It computes nothing: every node calls `loralathe`, which stands in ComfyUI's Python.
"""

from .extension import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
