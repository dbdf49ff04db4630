"""Where the parts of a model are: in its file, or in files and folders that the person names beside it.

A folder is one that diffusers wrote (text_encoder/, tokenizer_2/, vae/ …), ComfyUI's (text_encoders/, vae/),
or a text encoder's own. Files are told by the names in their headers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loralathe.errors import InputError, few, option
from loralathe.families import Component, Family, Pictures, TextReading
from loralathe.rendering.loading.tokenizers import holds_tokenizer
from loralathe.rendering.loading.weights import Shaped
from loralathe.tensorfiles import read_config, read_header

COMFYUI_ENCODERS = ("", "text_encoders", "clip", "models/text_encoders", "models/clip")
COMFYUI_VAES = ("vae", "models/vae")
COMFYUI_TOKENIZERS = ("", "comfy/text_encoders", "text_encoders", "../comfy/text_encoders")
SUFFIXES = (".safetensors", ".gguf", ".sft")
MODEL_TYPES = {"t5": "t5", "clip": "clip_text_model", "clip_g": "clip_text_model", "qwen3": "qwen3"}
"""Kind of a text encoder → what its config.json says it is."""


@dataclass(frozen=True)
class PartFiles:
    """What the person names beside a checkpoint: text encoders, or folders of them; a tokenizer."""

    encoders: tuple[Path, ...] = ()
    tokenizer: Path | None = None


@dataclass(frozen=True)
class Source:
    """Where a text encoder is. file: None for the checkpoint; a folder of transformers has no prefix."""

    file: Path | None
    prefix: str = ""


@dataclass(frozen=True)
class Parts:
    """Where everything beside the transformer is. vae: None for the checkpoint, or nowhere."""

    encoders: Mapping[str, Source]
    tokenizers: Mapping[str, Path] = field(default_factory=dict)
    vae: Path | None = None


def find_parts(
    family: Family, pictures: Pictures, tensors: Mapping[str, Shaped], files: PartFiles, where: str
) -> Parts:
    """tensors: of the checkpoint's header. InputError for a part that is missing, by its name and option.

    A text encoder that may be left out and is nowhere is not among the parts.
    """
    named = _named(family, pictures, files)
    found: dict[str, Source] = {}
    for reading in pictures.readings:
        component = family.component(reading.component)
        inside = any(component.owns(key) for key in tensors)
        if reading.component in named:
            found[reading.component] = named[reading.component]
        elif inside:
            found[reading.component] = Source(None, component.prefix)
        elif reading.optional:
            continue
        elif not reading.file:
            raise InputError(
                f"the checkpoint has no text encoder ({reading.component})",
                where=where,
                fix="render with a full checkpoint",
            )
        else:
            raise _missing_encoder(family, component, reading, where)
    tokenizers = {
        reading.component: _tokenizer(family.component(reading.component), reading, files)
        for reading in pictures.readings
        if reading.tokens is not None and reading.component in found
    }
    has_vae = any(family.component("vae").owns(key) for key in tensors)
    return Parts(found, tokenizers, None if has_vae else _vae(files))


def _missing_encoder(family: Family, component: Component, reading: TextReading, where: str) -> InputError:
    return InputError(
        f"the {component.label} of {family.label} is missing",
        where=where,
        fix=f"name its file: {option('text_encoder', reading.file or 'FILE')}; "
        "a folder of ComfyUI or diffusers that holds it will do, too",
    )


# Text encoders


def _named(family: Family, pictures: Pictures, files: PartFiles) -> dict[str, Source]:
    """Those that the person's files hold."""
    found: dict[str, Source] = {}
    for path in files.encoders:
        if not path.exists():
            raise InputError(
                "there is no such file or folder", where=str(path), fix="check the path", about="text_encoder"
            )
        here = _in_folder(family, pictures, path) if path.is_dir() else _in_file(family, pictures, path)
        if not here:
            needs = ", ".join(reading.file for reading in pictures.readings)
            raise InputError(
                f"no text encoder of {family.label} is there",
                where=str(path),
                fix=f"{family.label} reads its prompts with {needs}",
                about="text_encoder",
            )
        found |= here
    return found


def _in_file(family: Family, pictures: Pictures, file: Path) -> dict[str, Source]:
    tensors = read_header(file).tensors
    fitting = {}
    for reading in pictures.readings:
        prefix = encoder_prefix(family.component(reading.component), tensors)
        if prefix is not None:
            fitting[reading.component] = Source(file, prefix)
    if len(fitting) > 1 and len({source.prefix for source in fitting.values()}) == 1:
        component = family.component(next(iter(fitting)))
        return _nearest(pictures, fitting, _depth(component, tensors, next(iter(fitting.values())).prefix))
    return fitting


def _nearest(pictures: Pictures, fitting: Mapping[str, Source], depth: int) -> dict[str, Source]:
    """Of encoders with the same names the one that is usually about as deep."""
    depths = {one.component: one.depth for one in pictures.readings if one.component in fitting}
    name = min(depths, key=lambda one: abs(depths[one] - depth))
    return {name: fitting[name]}


def _depth(component: Component, tensors: Iterable[str], prefix: str) -> int:
    numbers = (component.table.by_tensor.find(key.removeprefix(prefix)) for key in tensors)
    return 1 + max((int(found[1]) for found in numbers if found and found[1]), default=0)


def encoder_prefix(component: Component, tensors: Iterable[str]) -> str | None:
    """What the keys of a text encoder of this kind begin with in a file; None where it holds none."""
    keys = list(tensors)
    for prefix in dict.fromkeys((component.prefix, "", "transformer.", "model.", "text_model.")):
        own = [key[len(prefix) :] for key in keys if key.startswith(prefix)]
        found = [component.table.by_tensor.find(key) for key in own]
        linear = {one[0][0][0].name for one in found if one and one[1] and one[0][0][0].scope == "linear"}
        every = {
            layer.name for layer in component.table.layers if layer.scope == "linear" and "#" in layer.name
        }
        if linear == every:
            return prefix
    return None


def _in_folder(family: Family, pictures: Pictures, folder: Path) -> dict[str, Source]:
    by_folder = {
        reading.component: Source(folder / family.component(reading.component).folder)
        for reading in pictures.readings
        if read_config(folder / family.component(reading.component).folder / "config.json")
    }
    if by_folder:
        return by_folder
    config = read_config(folder / "config.json")
    kind, depth = config.get("model_type"), config.get("num_hidden_layers")
    own = [one.component for one in pictures.readings if MODEL_TYPES.get(one.network) == kind]
    if own:
        fitting = {name: Source(folder) for name in own}
        return _nearest(pictures, fitting, depth if isinstance(depth, int) else 0)
    found: dict[str, list[Source]] = {}
    for file in _model_files(folder, COMFYUI_ENCODERS):
        for component, source in _in_file(family, pictures, file).items():
            found.setdefault(component, []).append(source)
    for component, sources in found.items():
        if len(sources) > 1:
            raise InputError(
                f"several files hold the {family.component(component).label}: "
                f"{few([str(source.file) for source in sources], 5)}",
                where=str(folder),
                fix=f"name the one that you want: {option('text_encoder', str(sources[0].file))}",
                about="text_encoder",
            )
    return {component: sources[0] for component, sources in found.items()}


def _model_files(folder: Path, inside: Sequence[str]) -> Iterator[Path]:
    for name in inside:
        if (folder / name).is_dir():
            yield from sorted(f for f in (folder / name).iterdir() if f.suffix in SUFFIXES)


# Tokenizers and the VAE


def _tokenizer(component: Component, reading: TextReading, files: PartFiles) -> Path:
    assert reading.tokens is not None
    places = [files.tokenizer] if files.tokenizer is not None else list(files.encoders)
    for place in places:
        if place.is_file() and place.suffix == ".json":
            return place
        for name in _tokenizer_folders(component, reading.tokens.comfyui):
            if holds_tokenizer(place / name):
                return place / name
    given = files.tokenizer
    if given is not None:
        raise InputError(
            "no tokenizer is there", where=str(given), fix="name a file tokenizer.json, or its folder",
            about="tokenizer",
        )  # fmt: skip
    raise InputError(
        f"the tokenizer of the {component.label} is missing",
        fix=f"name its file: {option('tokenizer', 'tokenizer.json')}; ComfyUI has it in "
        f"comfy/text_encoders/{reading.tokens.comfyui}, a diffusers folder in "
        f"{component.folder.replace('text_encoder', 'tokenizer')}",
    )


def _tokenizer_folders(component: Component, comfyui: str) -> Iterator[str]:
    own = component.folder.replace("text_encoder", "tokenizer")
    yield own
    yield f"../{own}"
    if comfyui:
        yield from (f"{place}/{comfyui}" if place else comfyui for place in COMFYUI_TOKENIZERS)
    yield ""


def _vae(files: PartFiles) -> Path | None:
    """The VAE of a folder that is named, if there is one there and no doubt which."""
    for folder in files.encoders:
        if (folder / "vae" / "config.json").is_file():
            return folder / "vae"
        found = list(_model_files(folder, COMFYUI_VAES))
        if len(found) == 1:
            return found[0]
    return None
