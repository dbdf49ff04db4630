"""What makes the pictures of an open model: this process, several, or programs elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from loralathe.api.arguments import folders_of
from loralathe.api.picture_inputs import Lists
from loralathe.api.picture_options import ModelOptions
from loralathe.errors import InputError, option

if TYPE_CHECKING:
    from loralathe.rendering import ImageRequest, OnImage
    from loralathe.rendering.elsewhere import Opening
    from loralathe.rendering.elsewhere.address import Server
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
    if options.on:
        return _elsewhere(options, lists)
    opening = _opening(options, lists, dtype())
    if not options.devices:
        return opening.renderer(weights, options.progress)
    from loralathe.rendering.elsewhere import process_pool

    return process_pool(devices_of(options), opening, weights, options.progress)


def _elsewhere(options: ModelOptions, lists: Lists) -> PictureMaker:
    from loralathe.rendering.elsewhere.address import read_places
    from loralathe.rendering.elsewhere.program import Settings
    from loralathe.rendering.elsewhere.servers import server_pool

    servers = read_places(options.on)
    folder = options.comfyui if servers[0].program == "comfyui" else options.webui
    settings = Settings(
        _presets(options, lists),
        None if folder is None else Path(folder),
        tuple(Path(one).name for one in folders_of(options.text_encoder)),
        options.allow_unmatched,
        options.hashes,
        tuple(map(str, options.folders)),
    )
    return server_pool(servers, settings, options.progress)


def server_of(options: ModelOptions) -> Server | None:
    """The first of the servers that `on` names. InputError where a device is named as well."""
    if not options.on:
        return None
    from loralathe.rendering.elsewhere.address import read_places

    here = {"device": options.device != "auto" and options.device, "devices": options.devices}
    for name, given in here.items():
        if given:
            raise InputError(
                "pictures are made here or elsewhere, not both",
                where=f"{option('on', options.on)} and {option(name, given)}",
                fix="leave one of them out",
            )
    return read_places(options.on)[0]


def devices_of(options: ModelOptions) -> tuple[str, ...]:
    """Those that `devices` names. InputError where `device` names one as well."""
    from loralathe.rendering.elsewhere import read_devices

    if options.device != "auto":
        raise InputError(
            "a device is named twice",
            where=f"{option('device', options.device)} and {option('devices', options.devices)}",
            fix="leave one of them out",
        )
    return read_devices(options.devices)


def first_device(options: ModelOptions) -> str:
    """The device that pictures are made on; of several, which are of one kind, the first."""
    return devices_of(options)[0] if options.devices else options.device


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
