"""What pictures that were prepared will take: how many steps, about how much time and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.opened import Opened
from loralathe.api.prepared_pictures import (
    BlocksPlan,
    PicturePlan,
    PreparedBlocks,
    PreparedGrid,
    PreparedPictures,
)

if TYPE_CHECKING:
    from loralathe.rendering import ImageRequest
    from loralathe.rendering.estimate import Memory, Numbers, Time
    from loralathe.studies import GridPlan
    from loralathe.tensorfiles import TensorInfo

__all__ = ["Estimate", "estimate", "estimate_pictures"]

Prepared = PreparedPictures | PreparedGrid | PreparedBlocks


@dataclass(frozen=True)
class Estimate:
    """Of the pictures that are not there yet.

    sizes: as "832×1216";  device: where they are made;  processes: that share them
    time:   by rates that were measured on this machine, shared by the processes
    memory: computed from the checkpoint's header; None where there is no file with one.
    """

    pictures: int
    steps: int
    sizes: tuple[str, ...]
    device: str
    time: Time
    memory: Memory | None
    processes: int = 1


def estimate(prepared: Prepared, plan: PicturePlan | GridPlan | BlocksPlan) -> Estimate:
    """What `prepared.run()` will take; nothing is loaded.

    plan: what `prepared.plan()` gave; a `coarse` analysis knows no more than its first round.
    """
    return estimate_pictures(prepared.model, _requests(prepared, plan))


def estimate_pictures(model: Opened, requests: Sequence[ImageRequest]) -> Estimate:
    """What these pictures take in a model; nothing is loaded."""
    from loralathe.api.renderers import cluster_of, devices_of, first_device, server_of
    from loralathe.families import original_header
    from loralathe.rendering.estimate import Time, denoiser_numbers, memory_of, time_of
    from loralathe.rendering.machine import device_label, planned_device
    from loralathe.rendering.rates import model_key

    if (server := server_of(model.options)) is not None:
        return _estimate_of(requests, server.name, Time(), None)
    if (cluster := cluster_of(model.options)) is not None:
        return _estimate_of(requests, cluster.name, Time(), None)
    family, low_vram = model.family, model.options.low_vram
    device = planned_device(first_device(model.options))
    processes = len(devices_of(model.options)) if model.options.devices else 1
    dtype = model.dtype
    file = Path(model.name if model.recipe is None else model.recipe.first_model)
    time, memory = Time(), None
    if file.exists():
        tensors = original_header(file).tensors
        numbers = denoiser_numbers(family, tensors)
        key = model_key(family.id, numbers, device_label(device), dtype, low_vram=low_vram)
        time = time_of(requests, key, numbers, device).shared(processes)
        sizes = [one.size for one in requests]
        largest = max(sizes, key=lambda size: size[0] * size[1], default=(8, 8))
        spares = low_vram and device != "cpu"  # where networks are in the memory that they wait in
        elsewhere = _elsewhere(model, tensors)
        memory = memory_of(family, tensors, largest, dtype, low_vram=spares, elsewhere=elsewhere)
    return _estimate_of(requests, device, time, memory, processes)


def _estimate_of(
    requests: Sequence[ImageRequest], device: str, time: Time, memory: Memory | None, processes: int = 1
) -> Estimate:
    return Estimate(
        len(requests),
        sum(one.all_steps for one in requests),
        tuple(dict.fromkeys("×".join(map(str, one.size)) for one in requests)),
        device,
        time,
        memory,
        processes,
    )


def _elsewhere(model: Opened, tensors: Mapping[str, TensorInfo]) -> dict[str, Numbers]:
    """The numbers of text encoders that are in files of their own, by their names."""
    from loralathe.rendering.estimate import numbers_of_files
    from loralathe.rendering.families import how_drawn

    pictures = how_drawn(model.family, model.name)
    if not pictures.flow:
        return {}
    from loralathe.rendering.loading import find_parts

    parts = find_parts(model.family, pictures, tensors, model.options.part_files, model.name)
    return numbers_of_files({name: one.file for name, one in parts.encoders.items() if one.file})


def _requests(prepared: Prepared, plan: PicturePlan | GridPlan | BlocksPlan) -> list[ImageRequest]:
    """Those that are still to be rendered."""
    if isinstance(prepared, PreparedPictures):
        return [prepared.options.request] * prepared.options.count
    if isinstance(plan, BlocksPlan):
        return [prepared.options.request] * plan.pictures
    from loralathe.studies import CellStore

    assert isinstance(prepared, PreparedGrid)
    assert not isinstance(plan, PicturePlan)
    store = CellStore(prepared.options.folder)
    return [job.request for job in plan.pictures if not store.has(job.key)]
