"""What makes the pictures of an open model: this process, several, or programs elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from loralathe.api.arguments import folders_of
from loralathe.api.model_options import ModelOptions
from loralathe.api.picture_inputs import Lists
from loralathe.errors import InputError, option

if TYPE_CHECKING:
    from loralathe.rendering import ImageRequest, OnImage
    from loralathe.rendering.elsewhere import Opening
    from loralathe.rendering.elsewhere.address import Cluster, Server
    from loralathe.rendering.model_cache import WeightsInMemory
    from loralathe.rendering.runtime import Presets


class PictureMaker(Protocol):
    """A renderer that keeps models open between calls."""

    def render(self, requests: Sequence[ImageRequest], on_image: OnImage) -> None: ...

    def forget(self) -> None:
        """Let go of the models; what comes next is another one."""

    def close(self) -> None:
        """Let go of everything."""


def make_renderer(
    options: ModelOptions,
    lists: Lists,
    dtype: Callable[[], Literal["fp32", "fp16", "bf16"]],
    weights: WeightsInMemory | None,
) -> PictureMaker:
    """The one that the options ask for; nothing is loaded yet. dtype: what is computed in, if it is here."""
    from loralathe.rendering.elsewhere.address import Cluster

    places = _places(options)
    if isinstance(places, tuple):
        return _on_servers(places, options, lists)
    opening = _opening(options, lists, dtype())
    if isinstance(places, Cluster):
        from loralathe.rendering.elsewhere.cluster import cluster_pool

        devices = devices_of(options) if options.devices else ()
        return cluster_pool(places, devices, opening, weights, options.progress)
    if not options.devices:
        return opening.renderer(weights, options.progress)
    from loralathe.rendering.elsewhere import process_pool

    return process_pool(devices_of(options), opening, weights, options.progress)


def _on_servers(servers: Sequence[Server], options: ModelOptions, lists: Lists) -> PictureMaker:
    from loralathe.rendering.elsewhere.comfyui import comfy_pool
    from loralathe.rendering.elsewhere.parts import TOKEN
    from loralathe.rendering.elsewhere.program import Settings
    from loralathe.rendering.elsewhere.webui import webui_pool

    comfyui = servers[0].program == "comfyui"
    folder = options.comfyui if comfyui else options.webui
    settings = Settings(
        _presets(options, lists),
        None if folder is None else Path(folder),
        tuple(Path(one).name for one in folders_of(options.text_encoder)),
        options.allow_unmatched,
        options.hashes,
        tuple(map(str, options.folders)),
        os.environ.get(TOKEN, "").strip(),
    )
    return (comfy_pool if comfyui else webui_pool)(servers, settings, options.progress)


def _places(options: ModelOptions) -> tuple[Server, ...] | Cluster | None:
    """What `on` names. InputError where a device of this machine is named as well."""
    if not options.on:
        return None
    from loralathe.rendering.elsewhere.address import Cluster, read_places

    found = read_places(options.on)
    here = {"device": options.device != "auto" and options.device, "devices": options.devices}
    for name, given in here.items():
        if given and not (isinstance(found, Cluster) and name == "devices"):
            raise InputError(
                "pictures are made here or elsewhere, not both",
                where=f"{option('on', options.on)} and {option(name, given)}",
                fix="leave one of them out",
            )
    return found


def server_of(options: ModelOptions) -> Server | None:
    """The program that draws in place of this one: the first of the servers that `on` names."""
    found = _places(options)
    return found[0] if isinstance(found, tuple) else None


def cluster_of(options: ModelOptions) -> Cluster | None:
    """The cluster that `on` names."""
    found = _places(options)
    return None if isinstance(found, tuple) else found


def devices_of(options: ModelOptions) -> tuple[str, ...]:
    """Those that `devices` names. InputError where `device` names one as well."""
    from loralathe.rendering.elsewhere import read_devices

    if options.device != "auto":
        raise InputError(
            "a device is named twice",
            where=f"{option('device', options.device)} and {option('devices', options.devices)}",
            fix="leave one of them out",
        )
    return read_devices(options.devices, here=cluster_of(options) is None)


def first_device(options: ModelOptions) -> str:
    """The device that pictures are made on; of several, which are of one kind, the first."""
    named = devices_of(options) if options.devices else ()
    if named:
        return named[0]
    return "cuda" if cluster_of(options) is not None else options.device


def _opening(options: ModelOptions, lists: Lists, dtype: Literal["fp32", "fp16", "bf16"]) -> Opening:
    from loralathe.rendering.elsewhere import Opening

    return Opening(
        options.device,
        dtype,
        tuple(map(str, options.folders)),
        batch_size=options.batch,
        low_vram=options.low_vram,
        presets=_presets(options, lists),
        prediction="v_prediction" if options.prediction == "v" else options.prediction,
        allow_unmatched=options.allow_unmatched,
        hashes=options.hashes,
        files=options.part_files,
    )


def _presets(options: ModelOptions, lists: Lists) -> Presets:
    from loralathe.rendering.runtime import Presets

    missing = None if options.missing_blocks is None else float(options.missing_blocks)
    return Presets(lists.blocks, lists.elements, missing)
