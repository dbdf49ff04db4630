"""Pictures from this machine's models: the renderer that studies and commands use."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from types import MappingProxyType
from typing import Literal

import torch
from PIL.Image import Image

from loralathe.adapters import ModelFolders
from loralathe.engine import full_precision
from loralathe.errors import InputError, is_out_of_memory, option
from loralathe.lowrank import Factors
from loralathe.progress import Progress, Task
from loralathe.rendering.decoding import decode, work_in_tiles
from loralathe.rendering.infotext import CHUNK, FileHashes, infotext
from loralathe.rendering.latents import LatentRenderer, RenderSettings
from loralathe.rendering.loading import PartFiles
from loralathe.rendering.machine import (
    batch_size_for,
    device_label,
    in_batches,
    pick_device,
    too_large,
    usual_dtype,
)
from loralathe.rendering.model_cache import LoadSettings, ModelCache, OpenModel, WeightsInMemory
from loralathe.rendering.moments import Read, gather_moments
from loralathe.rendering.placing import leave_device
from loralathe.rendering.prepare import Prepared, in_order_of_work, prepare
from loralathe.rendering.rates import model_key, remember_rate
from loralathe.rendering.refining import Schooling, refine
from loralathe.rendering.request import ImageRequest, OnImage
from loralathe.rendering.runtime import Presets
from loralathe.rendering.samplers import Prediction
from loralathe.rendering.sampling import OnStep
from loralathe.rendering.suitable import check_suits
from loralathe.rendering.vocabulary import remarks_on

DtypeName = Literal["fp32", "fp16", "bf16"]
DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
)


class LocalRenderer:
    """Renders requests on this machine; models, adapters and encoded texts stay open between calls.

    device:      'auto' (a GPU when there is one), 'cpu', 'cuda', 'cuda:1', 'mps'.
    dtype:       None: fp32 on the CPU, fp16 elsewhere.
    lora_dirs:   folders in which adapters are looked up by name.
    batch_size:  images at once; None: what seems to fit. It is halved when memory runs out.
    low_vram:    networks wait in main memory and come to the device in turn, transformers block by block; the
                 VAE works in tiles.
    weights:     checkpoints held in memory, name → original-layout tensors; requests use the name as path.
    presets:     the person's block lists and element rules.
    files:       text encoders and a tokenizer that checkpoints do not hold.
    prediction:  overrides what checkpoints say or seem to be ('epsilon', 'v_prediction').
    keep_models: how many checkpoints stay open.
    allow_unmatched: leave out the parts of an adapter that have no place in the model.
    hashes:      whether infotext carries hashes of the files (each is hashed once, and remembered).
    zero_empty_negative: SDXL reads an exactly empty negative prompt as zeros, as it was trained to.

    Use it in a `with` block, or call `close`.
    """

    def __init__(
        self,
        device: str = "auto",
        dtype: DtypeName | None = None,
        lora_dirs: Iterable[str | os.PathLike[str]] = (),
        *,
        batch_size: int | None = None,
        low_vram: bool = False,
        progress: Progress | None = None,
        weights: WeightsInMemory | None = None,
        presets: Presets | None = None,
        prediction: Prediction | None = None,
        keep_models: int = 1,
        allow_unmatched: bool = False,
        hashes: bool = False,
        zero_empty_negative: bool = True,
        files: PartFiles | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise InputError(f"the batch size is {batch_size}", fix="give 1 or more")
        self.device = pick_device(device)
        name = dtype or usual_dtype(self.device.type)
        if name not in DTYPES:
            raise InputError(f"models are not computed in '{name}'", fix=f"choose one of {', '.join(DTYPES)}")
        self._dtype = name
        self._progress = progress or Progress()
        self._batch_size = batch_size
        self._folders = ModelFolders(lora_dirs)
        self._settings = RenderSettings(
            self.device, presets or Presets(), allow_unmatched, zero_empty_negative
        )
        self._load_settings = LoadSettings(
            self.device, DTYPES[name], prediction, low_vram, files or PartFiles()
        )
        self._held = {} if weights is None else weights
        self._models = ModelCache(self._held, self._load_settings, keep_models, self._progress)
        self._told: set[str] = set()
        self._hashes = FileHashes(enabled=hashes, in_memory=frozenset(weights or ()), progress=self._progress)

    def __enter__(self) -> LocalRenderer:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all models and files."""
        self._models.close()

    def forget(self) -> None:
        """Let go of the models; a later picture loads what it needs."""
        self.close()

    def render(self, requests: Sequence[ImageRequest], on_image: OnImage) -> None:
        """Render all requests; `on_image(index, picture)` as they finish. Infotext is in `picture.info`.

        Names, samplers and prompts of all requests are read first, so a mistake in the last one is
        reported before the first is rendered. Raises InputError and MachineError.
        """
        prepared = [prepare(index, request, self._folders) for index, request in enumerate(requests)]
        for text in remarks_on(prepared, self._held):
            self._tell_once(text)
        order = in_order_of_work(prepared)
        for (checkpoint, vae), _ in order:
            self._models.check(checkpoint, vae)
        steps = sum(request.all_steps for request in requests)
        exact = full_precision() if self._load_settings.dtype == torch.float32 else nullcontext()
        with torch.inference_mode(), exact, self._progress.task("rendering", steps, "step") as task:
            for (checkpoint, vae), groups in order:
                self._render_model(checkpoint, vae, groups, task, on_image)

    def input_moments(
        self, requests: Sequence[ImageRequest], names: Sequence[str], on_step: OnStep
    ) -> dict[str, Read]:
        """The second moment of what each module's layer reads while these pictures of one model are sampled.

        names: canonical names of modules; those that the model lacks, and that nothing calls, are absent.
        """
        prepared = [prepare(index, request, self._folders) for index, request in enumerate(requests)]
        (((checkpoint, vae), groups),) = in_order_of_work(prepared)
        opened = self._models.get(checkpoint, vae)
        exact = full_precision() if self._load_settings.dtype == torch.float32 else nullcontext()
        with torch.inference_mode(), exact:
            return gather_moments(opened, self._settings, groups, names, on_step)

    def refine(
        self,
        with_word: Sequence[ImageRequest],
        without: Sequence[ImageRequest],
        start: str,
        schooling: Schooling,
        on_step: OnStep,
    ) -> dict[str, Factors]:
        """Module → the factors of the LoRA `start`, trained; see `rendering.refining`.

        with_word: pictures that should stay, whose last adapter is the LoRA that `start` stands in for.
        without: pictures of the same model as they should become, without it.
        """
        if self._load_settings.low_vram:
            raise InputError(
                "factors are trained with the networks on the device",
                where=option("low_vram", True),
                fix="leave it out, or do not refine",
            )
        # Networks that were opened for pictures alone cannot be trained through.
        self.close()
        own, others = (
            [prepare(index, request, self._folders) for index, request in enumerate(some)]
            for some in (with_word, without)
        )
        opened = self._models.get(with_word[0].checkpoint, with_word[0].vae)
        adapter = opened.adapter(start, allow_unmatched=self._settings.allow_unmatched)
        exact = full_precision() if self._load_settings.dtype == torch.float32 else nullcontext()
        with exact:
            return refine(opened, self._settings, own, others, adapter, schooling, on_step)

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._progress.message(text)

    def _render_model(
        self,
        checkpoint: str,
        vae: str | None,
        groups: Sequence[Sequence[Prepared]],
        task: Task,
        on_image: OnImage,
    ) -> None:
        """All images of one model. No reference to it stays, so its memory is free for the next one."""
        opened = self._models.get(checkpoint, vae)
        for reading in opened.model.absent:
            family = opened.model.family
            self._tell_once(
                f"{family.label} reads prompts without the {family.component(reading.component).label}: "
                f"no file holds it ({reading.file})"
            )
        latent_renderer = LatentRenderer(opened, self._settings, self._progress.message)
        for group in groups:
            for one in group:
                check_suits(opened.model.family, one.request)
            for one in group:  # an adapter or embedding that does not fit is an error before the first step
                latent_renderer.shares(one)
                latent_renderer.embeddings(one)
        for group in groups:
            self._render_group(opened, latent_renderer, group, task, on_image)

    def _render_group(
        self,
        opened: OpenModel,
        latent_renderer: LatentRenderer,
        group: Sequence[Prepared],
        task: Task,
        on_image: OnImage,
    ) -> None:
        """Images that can share batches: one model, size, sampler and number of steps."""
        done: list[tuple[Prepared, torch.Tensor]] = []

        rates: list[float] = []

        def run(batch: Sequence[Prepared]) -> None:
            before, moments = task.done, list[float]()

            def stepped() -> None:
                moments.append(time.perf_counter())
                task.advance(len(batch))

            try:
                latents = latent_renderer.latents(batch, stepped)
            except BaseException:
                task.advance(before - task.done)  # steps of a failed batch do not count
                raise
            done.extend(zip(batch, latents, strict=True))
            del moments[batch[0].request.steps :]  # the rate is that of the first pass
            if len(moments) > 1:  # the first step waits for what is loaded then
                rates.append((moments[-1] - moments[0]) / (len(moments) - 1) / len(batch))

        def finish() -> None:
            if self._load_settings.low_vram:
                leave_device(opened.model)
            while done:
                one, latents = done.pop(0)
                on_image(one.index, self._picture(opened, one, latents))

        request = group[0].request
        size = self._batch_size or batch_size_for(*request.size, self.device, self._load_settings.dtype)
        in_batches(group, size, run, finish, self._progress.message)
        if rates:
            numbers = sum(weight.numel() for weight in opened.model.denoiser.parameters())
            key = model_key(
                opened.model.family.id,
                numbers,
                device_label(str(self.device)),
                self._dtype,
                low_vram=self._load_settings.low_vram,
            )
            remember_rate(key, (request.width, request.height), rates[-1])

    def _picture(self, opened: OpenModel, one: Prepared, latents: torch.Tensor) -> Image:
        title = f"image {one.index + 1} (seed {one.request.seed})"
        vae = opened.model.vae
        assert vae is not None  # the cache gives no model without one
        try:
            picture = decode(vae, latents, self._progress.message, title)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if vae.use_tiling:
                raise too_large() from error
            picture = None
        if picture is None:
            self._progress.message(
                f"{title}: out of memory while decoding; the VAE works in tiles from now on"
            )
            work_in_tiles(vae)
            return self._picture(opened, one, latents)
        picture.info[CHUNK] = infotext(one.request, self._hashes.of(one.request, one.uses))
        return picture
