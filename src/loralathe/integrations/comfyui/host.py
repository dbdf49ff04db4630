"""All that this pack asks of ComfyUI beside its node API: folders, models in memory, cancelling."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sd
import folder_paths
import server
import torch
from comfy.weight_adapter import WeightAdapterBase

from loralathe import AdapterUse, InputError, LivePatch, few, inspect, live_patches

from .language import refusing

RECORD = "loralathe"
"""Under this name a MODEL or CLIP carries what was added to it, through every clone."""
SUFFIX = ".safetensors"
DENOISER, ENCODERS = "diffusion_model.", "text_encoders."
WEIGHT = ".weight"
PRESETS = "lbwpresets.txt"


def names(kind: str) -> list[str]:
    """Files of a kind as ComfyUI lists them: `loras`, `checkpoints`, `diffusion_models`."""
    return list(folder_paths.get_filename_list(kind))


def file(kind: str, name: str) -> Path:
    """Where a listed file is. InputError for one that is not listed, as of an old workflow."""
    found = folder_paths.get_full_path(kind, name)
    if found is None:
        raise InputError("no such file in ComfyUI's folders", where=f"{kind}: {name}")
    return Path(found)


def folders(*kinds: str) -> tuple[Path, ...]:
    """Those of ComfyUI's folders that are there."""
    every = (Path(one) for kind in kinds for one in folder_paths.get_folder_paths(kind))
    return tuple(one for one in every if one.is_dir())


def model_file(name: str) -> Path:
    """A checkpoint, or a diffusion model that stands alone."""
    kind = "checkpoints" if name in names("checkpoints") else "diffusion_models"
    return file(kind, name)


def model_names() -> list[str]:
    return list(dict.fromkeys((*names("checkpoints"), *names("diffusion_models"))))


def output_file(kind: str, name: str) -> Path:
    """`name` in the folder of a kind in ComfyUI's output folder, where it looks for models, too."""
    below = Path(name.strip().removesuffix(SUFFIX) + SUFFIX)
    if below.is_absolute() or below.drive or ".." in below.parts or "\\" in name:
        raise InputError(
            "files go into ComfyUI's output folder", where=name, fix="write a name without a path"
        )
    return Path(folder_paths.get_output_directory()) / kind / below


def study_folder(kind: str) -> Path:
    """A fresh folder in ComfyUI's output folder: `loralathe/grid_00001`."""
    number = 1
    while True:
        place = study_place(f"{kind}_{number:05d}")
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return place


def study_place(name: str) -> Path:
    """Where a study of this name is. InputError for what is no plain name."""
    if name != Path(name).name or not name.strip("."):
        raise InputError("this is no name of a folder", where=name)
    return Path(folder_paths.get_output_directory()) / "loralathe" / name


def below_output(path: Path) -> str:
    """A path as people read it: in the output folder from there."""
    output = Path(folder_paths.get_output_directory())
    return str(path.relative_to(output) if path.is_relative_to(output) else path)


def own_folder() -> Path:
    """The person's folder of ours: `user/loralathe`."""
    return Path(folder_paths.get_user_directory()) / "loralathe"


def presets() -> Path | dict[str, str]:
    """The person's file of block lists, in LoRA Block Weight's format; no lists where there is none."""
    place = own_folder() / PRESETS
    return place if place.is_file() else {}


def routes() -> Any | None:
    """Of ComfyUI's own server; None where it runs without one."""
    running = getattr(server.PromptServer, "instance", None)
    return None if running is None else running.routes


def is_cancelled() -> bool:
    return bool(comfy.model_management.processing_interrupted())


def raise_cancelled() -> None:
    """As ComfyUI's own nodes end when they are cancelled."""
    comfy.model_management.interrupt_current_processing(False)
    raise comfy.model_management.InterruptProcessingException


@dataclass(frozen=True)
class Applied:
    """A LoRA on a MODEL or CLIP; `key` is the same on both where one node put it there."""

    key: str
    use: AdapterUse


class Patch(WeightAdapterBase):
    """Our change of one weight, in ComfyUI's list of them."""

    name = "loralathe"

    def __init__(self, patch: LivePatch) -> None:
        self.patch = patch
        self.loaded_keys: set[str] = set()
        self.weights: list[torch.Tensor] = []

    def calculate_weight(
        self, weight: torch.Tensor, key: str, strength: float, *_: object, **__: object
    ) -> torch.Tensor:
        with refusing():  # while ComfyUI samples, far from the node that put it there
            weight += (strength * self.patch.added(weight)).to(weight.dtype)
        return weight


def applied(patcher: Any) -> tuple[Applied, ...]:
    """What our nodes added to a MODEL or CLIP so far. InputError where something else changed it as well."""
    patcher = getattr(patcher, "patcher", patcher)
    others = [
        key for key, found in patcher.patches.items() if not all(isinstance(p[1], Patch) for p in found)
    ]
    if others:
        raise InputError(
            "another node changed the weights of this model, and only it knows how",
            where=few(sorted(others)),
            fix="use 'LoRA with block weights' for LoRAs; ComfyUI's own Save Checkpoint saves all others",
        )
    return tuple(patcher.attachments.get(RECORD, ()))


def record(patcher: Any, done: Iterable[Applied]) -> None:
    """Write down what was added."""
    patcher = getattr(patcher, "patcher", patcher)
    patcher.attachments[RECORD] = tuple(done)


def apply_loras(uses: Sequence[AdapterUse], model: Any | None, clip: Any | None) -> tuple[Any, Any]:
    """MODEL and CLIP with LoRAs added; one that is not connected stays away, and its part of the LoRAs, too.

    Nothing is computed yet: ComfyUI asks for each weight when it loads the model.
    """
    if model is None and clip is None:
        return None, None
    shared = [
        replace(use, te=use.te if clip is not None else 0.0, unet=use.unet if model is not None else 0.0)
        for use in uses
    ]
    active = [use for use in shared if use.te or use.unet]
    patches = live_patches(*active, model=_layers(model, clip), presets=presets()) if active else ()
    done = [Applied(uuid.uuid4().hex, use) for use in active]
    return (
        None if model is None else _patched(model, patches, DENOISER, done),
        None if clip is None else _patched(clip, patches, ENCODERS, done),
    )


def _layers(model: Any | None, clip: Any | None) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    if model is not None:
        shapes = _shapes(model.model)
        found |= {key: shape for key, shape in shapes.items() if key.startswith(DENOISER)}
    if clip is not None:
        found |= {f"{ENCODERS}{key}": shape for key, shape in _shapes(clip.cond_stage_model).items()}
    return found


def _shapes(network: Any) -> dict[str, tuple[int, ...]]:
    """Of each layer's weight. A quantised weight says its own: a state dict may hold packed bytes."""
    own = dict(network.named_parameters())
    return {
        key.removesuffix(WEIGHT): tuple(own.get(key, value).shape)
        for key, value in network.state_dict().items()
    }


def _patched(given: Any, patches: Sequence[LivePatch], start: str, done: Sequence[Applied]) -> Any:
    clone = given.clone()
    patcher = getattr(clone, "patcher", clone)
    held = patcher.model.state_dict()
    fresh: dict[str, Patch] = {}
    for patch in patches:
        if not patch.layer.startswith(start):
            continue
        layer = patch.layer.removeprefix(ENCODERS)
        key = f"{layer}{WEIGHT}" if f"{layer}{WEIGHT}" in held else layer
        earlier = patcher.patches.get(key, [])
        if earlier and isinstance(earlier[-1][1], Patch):  # what one adds, the other shall not see
            patch = earlier.pop()[1].patch.and_of(patch)  # noqa: PLW2901
        fresh[key] = Patch(patch)
    patcher.add_patches(fresh)
    record(patcher, (*patcher.attachments.get(RECORD, ()), *done))
    return clone


def both_parts(model: Any, clip: Any | None) -> list[AdapterUse]:
    """The LoRAs on a MODEL and its CLIP, each with the strengths that it has there."""
    on_model = {one.key: one.use for one in applied(model)}
    on_clip = {} if clip is None else {one.key: one.use for one in applied(clip)}
    return [
        replace(
            (on_model.get(key) or on_clip[key]),
            unet=on_model[key].unet if key in on_model else 0.0,
            te=on_clip[key].te if key in on_clip else 0.0,
        )
        for key in dict.fromkeys((*on_model, *on_clip))
    ]


Held = tuple[Any, Any, Any]
"""MODEL, CLIP and VAE; None for what a file does not hold."""


def loaded(tensors: dict[str, torch.Tensor], like: Path, *, alone: bool = False) -> Held:
    """A model's tensors in memory as ComfyUI loads a file of them; it takes them out of the dictionary.

    like: a file with the same marks in its metadata;  alone: a diffusion model without the rest.
    """
    if alone:
        return _known((comfy.sd.load_diffusion_model_state_dict(tensors), None, None), like)
    found = comfy.sd.load_state_dict_guess_config(
        tensors, embedding_directory=_words(), metadata=dict(inspect(like).metadata)
    )
    return _known(found, like)


def loaded_file(path: Path, *, alone: bool = False) -> Held:
    """A file of ours, as ComfyUI's loaders do."""
    if alone:
        return _known((comfy.sd.load_diffusion_model(str(path)), None, None), path)
    return _known(comfy.sd.load_checkpoint_guess_config(str(path), embedding_directory=_words()), path)


def _words() -> Any:
    """Folders of embeddings, which prompts name."""
    return folder_paths.get_folder_paths("embeddings")


def _known(found: Any, where: Path) -> Held:
    if found is None or found[0] is None:
        raise InputError("ComfyUI does not know the kind of this model", where=str(where))
    return found[0], found[1], found[2]
