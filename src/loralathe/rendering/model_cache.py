"""Open models, ready on their device: opened once, kept for later batches, closed when memory is needed."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from loralathe.errors import InputError, MachineError, is_out_of_memory, option
from loralathe.families import Family
from loralathe.progress import Progress
from loralathe.rendering.embeddings import EmbeddingTable
from loralathe.rendering.encoding import Conditioning
from loralathe.rendering.families import how_drawn, is_pipeline
from loralathe.rendering.loading import (
    FileWeights,
    MemoryWeights,
    Model,
    PartFiles,
    Weights,
    load_vae,
    open_folder,
    open_model,
)
from loralathe.rendering.machine import release_memory
from loralathe.rendering.placing import place, place_vae
from loralathe.rendering.runtime import LoadedAdapter, Share
from loralathe.rendering.samplers import Prediction

TEXTS_KEPT = 256

WeightsInMemory = Mapping[str, Mapping[str, torch.Tensor]]
Stamp: TypeAlias = object
"""Identity of the weights behind a name: of a file, or the mapping in memory. It changes with them."""


@dataclass(eq=False)
class OpenModel:
    """A model on its device with what was computed for it: adapters, strengths, encoded texts."""

    model: Model
    adapters: dict[tuple[str, int, int], LoadedAdapter] = field(default_factory=dict)
    shares: dict[tuple[object, ...], Share] = field(default_factory=dict)
    texts: OrderedDict[tuple[object, ...], Conditioning] = field(default_factory=OrderedDict)
    own_vae: Any = None
    stamp: Stamp = None

    def __post_init__(self) -> None:
        self.embeddings = EmbeddingTable(self.model)

    def adapter(self, path: str, *, allow_unmatched: bool) -> LoadedAdapter:
        """The adapter file, opened once; a file that was written again is opened again."""
        status = os.stat(path)
        key = (path, status.st_mtime_ns, status.st_size)
        if key not in self.adapters:
            self.adapters[key] = LoadedAdapter(path, self.model, allow_unmatched=allow_unmatched)
        return self.adapters[key]

    def recall(self, key: tuple[object, ...]) -> Conditioning | None:
        if key in self.texts:
            self.texts.move_to_end(key)
        return self.texts.get(key)

    def remember(self, key: tuple[object, ...], text: Conditioning) -> None:
        self.texts[key] = text
        while len(self.texts) > TEXTS_KEPT:
            self.texts.popitem(last=False)

    def close(self) -> None:
        for adapter in self.adapters.values():
            adapter.close()
        self.adapters.clear()
        self.shares.clear()
        self.texts.clear()


@dataclass(frozen=True)
class LoadSettings:
    """How models are opened and where they run."""

    device: torch.device
    dtype: torch.dtype
    prediction: Prediction | None
    low_vram: bool
    files: PartFiles = field(default_factory=PartFiles)


class ModelCache:
    """The open models, most recently used last. `weights` are checkpoints held in memory, by name.

    A file that was written again, or a name that got other weights in memory, is opened again.
    """

    def __init__(
        self, weights: WeightsInMemory, settings: LoadSettings, keep: int, progress: Progress | None = None
    ) -> None:
        self._weights = weights
        self._progress = progress or Progress()
        self._settings = settings
        self._keep = max(1, keep)
        self._open: OrderedDict[str, OpenModel] = OrderedDict()
        self._vaes: OrderedDict[tuple[str, str], tuple[Stamp, Any]] = OrderedDict()

    def check(self, checkpoint: str, vae: str | None) -> None:
        """InputError for names that are neither held in memory nor on disk; nothing is opened."""
        for name in (checkpoint, vae):
            if name is not None and name not in self._weights and not is_pipeline(Path(name)):
                with self._weights_of(name):
                    pass

    def get(self, checkpoint: str, vae: str | None) -> OpenModel:
        """The model with that VAE (None: its own), open and on its device."""
        stamp = self._stamp(checkpoint)
        if checkpoint in self._open and not _same(self._open[checkpoint].stamp, stamp):
            self._open.pop(checkpoint).close()
        if checkpoint not in self._open:
            self._close_oldest()
            model = self._opened(checkpoint)
            with _explain_lack_of_memory(checkpoint, self._settings.device):
                place(model, self._settings.device, low_vram=self._settings.low_vram)
            self._open[checkpoint] = OpenModel(model, own_vae=model.vae, stamp=stamp)
        self._open.move_to_end(checkpoint)
        found = self._open[checkpoint]
        wanted = found.own_vae if vae is None else self._vae(vae, found.model.family)
        if wanted is None:
            raise InputError(
                "the checkpoint has no VAE",
                where=checkpoint,
                fix=f"name its file: {option('vae', found.model.pictures.vae_file)}",
            )
        if found.model.vae is not wanted:
            found.model = replace(found.model, vae=wanted)
        return found

    def close(self) -> None:
        """Forget all models."""
        for model in self._open.values():
            model.close()
        self._open.clear()
        self._vaes.clear()

    def _close_oldest(self) -> None:
        """Close the models used longest ago; their memory is free before the next one is read."""
        closed = len(self._open) >= self._keep
        while len(self._open) >= self._keep:
            self._open.popitem(last=False)[1].close()
        if closed:
            release_memory()

    def _opened(self, name: str) -> Model:
        one = self._settings
        if name not in self._weights and is_pipeline(Path(name)):
            return open_folder(Path(name), one.dtype, prediction=one.prediction, files=one.files)
        with self._weights_of(name) as weights, self._watched(weights):
            return open_model(weights, one.dtype, prediction=one.prediction, files=one.files)

    @contextmanager
    def _watched(self, weights: Weights) -> Iterator[None]:
        """Tell how far a file has been read: gigabytes take a while. EMA copies, which are not, count too."""
        if not isinstance(weights, FileWeights):
            yield
            return
        with self._progress.task(f"loading {Path(weights.name).name}", weights.nbytes) as task:
            weights.on_read = task.advance
            yield

    def _vae(self, name: str, family: Family) -> Any:
        key, stamp = (name, family.id), self._stamp(name)
        if key in self._vaes and not _same(self._vaes[key][0], stamp):
            del self._vaes[key]
        if key not in self._vaes:
            while len(self._vaes) >= self._keep:
                self._vaes.popitem(last=False)
            with self._weights_of(name) as weights:
                vae = load_vae(weights, how_drawn(family, name), self._settings.dtype)
            with _explain_lack_of_memory(name, self._settings.device):
                place_vae(vae, self._settings.device, low_vram=self._settings.low_vram)
            self._vaes[key] = (stamp, vae)
        return self._vaes[key][1]

    def _stamp(self, name: str) -> Stamp:
        if name in self._weights:
            return self._weights[name]
        path = Path(name)
        files = (sorted(path.glob("*/*")) or sorted(path.glob("*"))) if path.is_dir() else [path]
        return tuple(_file_stamp(file) for file in files)

    def _weights_of(self, name: str) -> Weights:
        if name in self._weights:
            return MemoryWeights(name, self._weights[name], {})
        return FileWeights(name)


def _file_stamp(file: Path) -> tuple[str, int, int, int, int]:
    status = file.stat()
    return (str(file), status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def _same(one: Stamp, other: Stamp) -> bool:
    return one is other or (isinstance(one, tuple) and one == other)


@contextmanager
def _explain_lack_of_memory(name: str, device: torch.device) -> Iterator[None]:
    """MachineError when the device has too little memory."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise MachineError(
            f"the model does not fit into the memory of the device '{device}'",
            where=name,
            fix=f"{option('low_vram', True)}, {option('dtype', 'fp16')}, or another device",
        ) from error
