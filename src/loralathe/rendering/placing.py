"""Where the networks of a model are: on its device, or with little memory in main memory until they run.

U-Nets and their text encoders then come to the device as a whole, one after another. Transformers and theirs
come block by block: the device holds one block, and the few layers before and after the blocks.
"""

from __future__ import annotations

from typing import Any

import torch

from loralathe.rendering.decoding import work_in_tiles
from loralathe.rendering.loading import Model
from loralathe.rendering.machine import library

HALVES = ("text_model", "encoder")
"""Inside of text encoders of transformers, where the blocks are one level deeper."""


def place(model: Model, device: torch.device, *, low_vram: bool) -> None:
    """All networks on the device, or ready to come there."""
    networks = [*(encoder.network for encoder in model.encoders), model.denoiser]
    if not low_vram:
        for network in networks:
            network.to(device)
    elif model.pictures.flow:
        for network in networks:
            _bring_blocks(network, device)
    else:
        _bring_in_turn(networks, device)
    if model.vae is not None:
        place_vae(model.vae, device, low_vram=low_vram)


def place_vae(vae: Any, device: torch.device, *, low_vram: bool) -> None:
    """With low memory it works in tiles."""
    if low_vram:
        work_in_tiles(vae)
        _bring_in_turn([vae], device)
    else:
        vae.to(device)


def leave_device(model: Model) -> None:
    """With low memory: the VAE has the device to itself."""
    if not model.pictures.flow:  # blocks are not there any more
        model.denoiser.to("cpu")


def _bring_blocks(network: Any, device: torch.device) -> None:
    library("diffusers.hooks").apply_group_offloading(
        network, device, offload_type="block_level", num_blocks_per_group=1, block_modules=list(HALVES)
    )


def _bring_in_turn(networks: list[Any], device: torch.device) -> None:
    cpu_offload_with_hook = library("accelerate").cpu_offload_with_hook
    previous = None
    for network in networks:
        _, previous = cpu_offload_with_hook(network, device, prev_module_hook=previous)
