"""What makes the pictures of an open model: this process, several, or programs elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from loralathe.api.picture_inputs import Lists
from loralathe.api.picture_options import ModelOptions
from loralathe.errors import InputError, option

if TYPE_CHECKING:
    from loralathe.rendering import ImageRequest, OnImage
    from loralathe.rendering.elsewhere import Opening
    from loralathe.rendering.model_cache import WeightsInMemory


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
    dtype: Literal["fp32", "fp16", "bf16"],
    weights: WeightsInMemory | None,
) -> PictureMaker:
    """The one that the options ask for; nothing is loaded yet."""
    opening = _opening(options, lists, dtype)
    if not options.devices:
        return opening.renderer(weights, options.progress)
    from loralathe.rendering.elsewhere import process_pool

    return process_pool(devices_of(options), opening, weights, options.progress)


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
    from loralathe.rendering.runtime import Presets

    missing = None if options.missing_blocks is None else float(options.missing_blocks)
    return Opening(
        options.device,
        dtype,
        tuple(map(str, options.folders)),
        batch_size=options.batch,
        low_vram=options.low_vram,
        presets=Presets(lists.blocks, lists.elements, missing),
        prediction="v_prediction" if options.prediction == "v" else options.prediction,
        allow_unmatched=options.allow_unmatched,
        hashes=options.hashes,
        files=options.part_files,
    )
