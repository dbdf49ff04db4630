"""What is timed: every case gives the same pictures in two or more ways."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.rendering_models import Stage, call
from loralathe.families import Family, family_by_id
from loralathe.rendering import LocalRenderer
from loralathe.strengths import AdapterUse
from loralathe.studies.analyzer import BlocksOptions, analyze_blocks
from loralathe.studies.context import gather_context
from loralathe.studies.grid import GridOptions, run_grid

STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
Way = Callable[[], list[Any]]
"""Makes all pictures of a case; gives them, where they are at hand, so that they can be compared."""


@dataclass(frozen=True)
class Case:
    """`ways` by name, ours first; ratios are taken against `baseline`."""

    name: str
    cells: int
    ways: Mapping[str, Way]
    baseline: str


def pictures(renderer: LocalRenderer, requests: list[Any]) -> list[Any]:
    found: dict[int, Any] = {}
    renderer.render(requests, lambda index, image: found.update({index: image}))
    return [found[index] for index in range(len(requests))]


@contextmanager
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="grid-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def strengths(stage: Stage, crossed: bool) -> Case:
    """A grid of strengths, te and unet together or crossed, against a pipeline whose PEFT LoRA is reset."""
    pairs = [(te, unet) for te in STRENGTHS for unet in STRENGTHS if crossed or te == unet]
    requests = [stage.size.request(adapters=(AdapterUse("hina", te, unet),)) for te, unet in pairs]

    def grid() -> list[Any]:
        values = "0..1 (+0.2)"
        axes = (
            {"x": f"hina unet = {values}", "y": f"hina te = {values}"}
            if crossed
            else {"x": f"hina = {values}"}
        )
        request = stage.size.request(adapters=(AdapterUse("hina"),))
        with scratch() as folder:
            made = run_grid(GridOptions(request, folder, **axes, context=context_of(stage)), stage.renderer)
            assert made.rendered == len(pairs)
        return []

    def peft() -> list[Any]:
        found = []
        for te, unet in pairs:
            parts = {"unet": unet, "text_encoder": te}
            if stage.size.family == "sdxl":
                parts["text_encoder_2"] = te
            stage.pipe.set_adapters("hina", parts)
            found.append(call(stage))
        return found

    ways: dict[str, Way] = {
        "batched": lambda: pictures(stage.renderer, requests),
        "one at a time": lambda: pictures(stage.one_by_one, requests),
        "`run_grid`, files and scores": grid,
        "PEFT pipeline": peft,
    }
    name = "strengths, te × unet" if crossed else "strengths"
    return Case(name, len(pairs), ways, "PEFT pipeline")


def bare(stage: Stage) -> Case:
    """No LoRA at all: what our own machinery costs beside a bare pipeline call."""
    requests = [stage.size.request(seed=7) for _ in STRENGTHS]

    ways: dict[str, Way] = {
        "batched": lambda: pictures(stage.renderer, requests),
        "one at a time": lambda: pictures(stage.one_by_one, requests),
        "bare pipeline": lambda: [call(stage) for _ in requests],
    }
    return Case("no LoRA", len(requests), ways, "bare pipeline")


def analyzer(stage: Stage) -> Case:
    """n + 1 pictures in batches, against unloading and loading the LoRA with new block weights for each."""
    family = family_by_id(stage.size.family)
    blocks = family.short_blocks

    def ours() -> list[Any]:
        request = stage.size.request(adapters=(AdapterUse("hina"),))
        with scratch() as folder:
            options = BlocksOptions(
                request, folder, range="0,1", blocks=f"{len(blocks)}ALL", context=context_of(stage)
            )
            report = analyze_blocks(options, stage.renderer)
            assert report.rendered == len(blocks) + 1
        return []

    def reloading() -> list[Any]:
        for block in (None, *blocks):
            stage.pipe.unload_lora_weights()
            stage.pipe.load_lora_weights(without_block(stage.lora, family, block), adapter_name="hina")
            call(stage)
        return []

    return Case(
        "block analyzer", len(blocks) + 1, {"`analyze_blocks`": ours, "reload for each": reloading},
        "reload for each",
    )  # fmt: skip


def fusing(stage: Stage) -> Case:
    """Batched strengths against a pipeline that fuses the LoRA into its weights for each cell."""
    requests = [stage.size.request(adapters=(AdapterUse("hina", s, s),)) for s in STRENGTHS]

    def fuse() -> list[Any]:
        found = []
        for strength in STRENGTHS:
            stage.pipe.fuse_lora(lora_scale=strength)
            found.append(call(stage))
            stage.pipe.unfuse_lora()
        return found

    ways: dict[str, Way] = {
        "batched": lambda: pictures(stage.renderer, requests),
        "one at a time": lambda: pictures(stage.one_by_one, requests),
        "fuse, unfuse": fuse,
    }
    return Case("strengths", len(requests), ways, "fuse, unfuse")


def context_of(stage: Stage) -> Any:
    return gather_context(family_by_id(stage.size.family), lora_dirs=[stage.lora.parent])


def without_block(path: Path, family: Family, block: str | None) -> dict[str, torch.Tensor]:
    """The file read anew with one block's modules at 0."""
    tensors = load_file(path)
    for key in tensors:
        name = family.module_of_kohya(key.split(".")[0])
        if key.endswith(".lora_up.weight") and name and family.block_of_module(name) == block and block:
            tensors[key] = torch.zeros_like(tensors[key])
    return tensors
