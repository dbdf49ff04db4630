"""Axes over the plain fields of a request: seed, steps, CFG, sampler, schedule, files, clip skip, size."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from loralathe.adapters import ModelFolders, close_files
from loralathe.errors import InputError, option, spelling_hint, visible
from loralathe.rendering.hires import UPSCALERS
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import find_name, match_name, name_hint, parse_ints, parse_texts
from loralathe.studies.axis import Axis, AxisKind, AxisSpec, AxisValue, decimal_axis, each
from loralathe.studies.cell_builder import CellBuilder, adapter_name
from loralathe.studies.context import Context

T = TypeVar("T")
SEED = "the seed"


def _field(
    values: Iterable[T], label: Callable[[T], str], change: Callable[[ImageRequest, T], ImageRequest]
) -> tuple[AxisValue, ...]:
    return each(values, label, lambda cell, value: replace(cell, request=change(cell.request, value)))


def build_seed(spec: AxisSpec) -> Axis:
    seeds = [spec.context.draw_seed() if seed == -1 else seed for seed in parse_ints(spec.text)]
    _at_least(seeds, 0, "a seed is 0 or more, or -1 for a random one")
    values = _field(seeds, str, lambda request, seed: replace(request, seed=seed))
    return Axis("Seed", values, 0.0, text=spec.text, sets=frozenset({SEED}), seeds=True)


def build_steps(spec: AxisSpec) -> Axis:
    counts = parse_ints(spec.text)
    _at_least(counts, 1, "a picture takes at least 1 step")
    values = _field(counts, str, lambda request, n: replace(request, steps=n))
    return Axis("Steps", values, 0.2, text=spec.text, sets=frozenset({"the steps"}))


def build_clip_skip(spec: AxisSpec) -> Axis:
    skips = parse_ints(spec.text)
    _at_least(skips, 1, "clip skip is 1 (the last layer) or more")
    values = _field(skips, str, lambda request, n: replace(request, clip_skip=n))
    return Axis("Clip skip", values, 0.1, text=spec.text, sets=frozenset({"clip skip"}))


def build_cfg(spec: AxisSpec) -> Axis:
    def apply(cell: CellBuilder, cfg: float) -> CellBuilder:
        return replace(cell, request=replace(cell.request, cfg=cfg))

    return decimal_axis("CFG", spec, 0.0, apply, frozenset({"the CFG scale"}))


def build_denoising(spec: AxisSpec) -> Axis:
    def apply(cell: CellBuilder, strength: float) -> CellBuilder:
        return replace(cell, request=_with_hires(cell.request, denoising=strength))

    return decimal_axis("Denoising", spec, 0.0, apply, frozenset({"the denoising strength"}))


def build_hires_steps(spec: AxisSpec) -> Axis:
    counts = parse_ints(spec.text)
    _at_least(counts, 0, "the second pass takes 1 step or more, or 0 for as many as the first")
    values = _field(counts, str, lambda request, n: _with_hires(request, steps=n))
    return Axis("Hires steps", values, 0.2, text=spec.text, sets=frozenset({"the steps of hires fix"}))


def build_hires_upscaler(spec: AxisSpec) -> Axis:
    names = [_known(text, tuple(UPSCALERS), "upscaler") for text in _texts(spec)]
    values = _field(names, str, lambda request, name: _with_hires(request, upscaler=name))
    return Axis("Hires upscaler", values, 0.1, text=spec.text, sets=frozenset({"the upscaler"}))


def _with_hires(request: ImageRequest, **changes: Any) -> ImageRequest:
    if request.hires is None:
        raise InputError(
            "an axis of hires fix changes nothing without it", fix=f"give a scale: {option('hires', 2)}"
        )
    return replace(request, hires=replace(request.hires, **changes))


def _at_least(numbers: Sequence[int], least: int, what: str) -> None:
    for number in numbers:
        if number < least:
            raise InputError(what, where=f"value {number}")


def build_sampler(spec: AxisSpec) -> Axis:
    names = [_sampler(text, spec.context) for text in _texts(spec)]
    values = _field(names, " ".join, _with_sampler)
    sets = {"the sampler", *(["the schedule"] if any(len(name) > 1 for name in names) else [])}
    return Axis("Sampler", values, 0.4, text=spec.text, sets=frozenset(sets))


def _with_sampler(request: ImageRequest, names: tuple[str, ...]) -> ImageRequest:
    changed = replace(request, sampler=names[0])
    return changed if len(names) == 1 else replace(changed, schedule=names[1])


def _sampler(text: str, context: Context) -> tuple[str, ...]:
    """A sampler, or a sampler and a schedule in one name (`DPM++ 2M Karras`, as A1111 had it before 1.9)."""
    if match_name(text, context.samplers) is None:
        for schedule in context.schedules:
            if text.casefold().endswith(" " + schedule.casefold()):
                return _known(text[: -len(schedule) - 1], context.samplers, "sampler"), schedule
    return (_known(text, context.samplers, "sampler"),)


def build_schedule(spec: AxisSpec) -> Axis:
    names = [_known(text, spec.context.schedules, "schedule") for text in _texts(spec)]
    values = _field(names, str, lambda request, name: replace(request, schedule=name))
    return Axis("Schedule", values, 0.3, text=spec.text, sets=frozenset({"the schedule"}))


def _texts(spec: AxisSpec) -> list[str]:
    texts = [text for text in parse_texts(spec.text) if text]
    if not texts:
        raise InputError("no values were given", where=f"axis '{spec.title}'")
    return texts


def _known(text: str, names: Sequence[str], noun: str) -> str:
    """The name as the table spells it. An empty table accepts anything."""
    return find_name(text, names, noun, fix=f"known: {', '.join(names)}") if names else text


FOLDER_OPTIONS = {"checkpoint": "checkpoint_dir", "VAE": "vae_dir", "adapter": "lora_dir"}


def resolve_file(text: str, files: Mapping[str, str], noun: str) -> str:
    """A file by its name in the folder (with or without suffix, any case), or by a path that exists.

    Raises InputError with close names.
    """
    for called in (text, adapter_name(text)):
        if (name := match_name(called, files)) is not None:
            return files[name]
    if (path := ModelFolders().place(Path(text))).exists():
        return str(path)
    alike = [name for name in files if name.casefold() == text.casefold()]
    fix = (
        name_hint(text, alike or close_files(text, files, adapters=noun == "adapter"))
        or f"give a path, or a name from the folder that {option(FOLDER_OPTIONS[noun])} names"
    )
    raise InputError(f"there is no {noun} '{text}'", fix=fix)


def build_checkpoint(spec: AxisSpec) -> Axis:
    """Raises InputError beside a recipe, whose model every cell would show under the names of others."""
    if (recipe := spec.context.recipe) is not None:
        raise InputError(
            "an axis of checkpoints changes nothing: the recipe makes the model",
            where=recipe.file,
            fix="sweep a variable of the recipe, or leave the recipe out",
        )
    files = [resolve_file(text, spec.context.checkpoints, "checkpoint") for text in _texts(spec)]
    values = _field(files, adapter_name, lambda request, file: replace(request, checkpoint=file))
    return Axis("Checkpoint", values, 1.0, text=spec.text, sets=frozenset({"the checkpoint"}))


def build_vae(spec: AxisSpec) -> Axis:
    texts = _texts(spec)
    own = ("none", "automatic", "auto")
    files = [None if t.casefold() in own else resolve_file(t, spec.context.vaes, "VAE") for t in texts]
    values = _field(
        files,
        lambda file: adapter_name(file) if file else "own VAE",
        lambda request, file: replace(request, vae=file),
    )
    return Axis("VAE", values, 0.7, text=spec.text, sets=frozenset({"the VAE"}))


_SIZE = re.compile(r"\s*(\d+)\s*[x×*]\s*(\d+)\s*", re.ASCII | re.IGNORECASE)


def build_size(spec: AxisSpec) -> Axis:
    sizes = [_size(text) for text in _texts(spec)]
    values = _field(
        sizes, lambda s: f"{s[0]}×{s[1]}", lambda request, s: replace(request, width=s[0], height=s[1])
    )
    return Axis("Size", values, 0.5, text=spec.text, sets=frozenset({"the size"}))


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(visible(text))
    if match is None:
        fix = spelling_hint(text) or "write width x height: 832x1216"
        raise InputError(f"'{text}' is not a size", fix=fix)
    width, height = int(match[1]), int(match[2])
    if not width or not height or width % 8 or height % 8:
        near = f"{max(8, round(width / 8) * 8)}x{max(8, round(height / 8) * 8)}"
        raise InputError(f"the size {text} is not a multiple of 8", fix=f"for example {near}")
    return width, height


REQUEST_KINDS: tuple[AxisKind, ...] = (
    AxisKind(("seed", "seeds"), build_seed, example="seed = 1-4"),
    AxisKind(("steps",), build_steps, example="steps = 10, 20, 30"),
    AxisKind(("cfg", "cfg scale"), build_cfg, example="cfg = 4..8 (+2)"),
    AxisKind(("sampler",), build_sampler, example="sampler = Euler a, DPM++ 2M"),
    AxisKind(
        ("schedule", "schedule type", "scheduler"), build_schedule, example="schedule = Karras, Exponential"
    ),
    AxisKind(
        ("checkpoint", "checkpoint name", "model"), build_checkpoint, example="checkpoint = baseA, baseB"
    ),
    AxisKind(("vae",), build_vae, example="vae = none, sdxl_vae"),
    AxisKind(("clip skip",), build_clip_skip, example="clip skip = 1, 2"),
    AxisKind(("denoising", "denoising strength"), build_denoising, example="denoising = 0.3, 0.5, 0.7"),
    AxisKind(("hires steps",), build_hires_steps, example="hires steps = 10, 20"),
    AxisKind(
        ("hires upscaler", "upscaler"), build_hires_upscaler, example="hires upscaler = Latent, Lanczos"
    ),
    AxisKind(("size",), build_size, example="size = 832x1216, 1024x1024"),
)
