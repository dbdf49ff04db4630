"""The dialects of adapter files, one table: how names begin, how paths are spelled, what factors are called.

What a dialect says of one network is made of the facts of that network (`Component`): its folder in the
diffusers layout, its starts of flat names, its prefix, ComfyUI's word for it. So a family needs nothing here.

    kohya      lora_unet_double_blocks_0_img_mlp_0.lora_down.weight      alpha as a tensor
    lycoris    lycoris_transformer_blocks_0_ff_net_2.lokr_w1             SimpleTuner
    comfyui    diffusion_model.double_blocks.0.img_mlp.0.lora_down.weight
    xlabs      double_blocks.0.processor.qkv_lora1.down.weight
    original   diffusion_model.double_blocks.0.img_mlp.0.lora_A.weight   BFL, AI-Toolkit; bare, too
    peft       transformer.transformer_blocks.0.ff.net.2.lora_A.weight   alpha in the notes
    diffusers  unet.down_blocks.1.attentions.0.proj_in.lora.down.weight

Whatever dialect a name is of, all starts and spellings are tried: files mix them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from loralathe.families import Component, Family, LayerAddress, PathSpelling

WRAPPER = "base_model.model."
"""What PEFT puts before the path of every module of the model that it wraps."""
ENCODERS = "text_encoders."
"""How ComfyUI's names of text encoders begin."""
INNER = "text_model."
"""CLIP's inner wrapper, which transformers 5.6 and later leave out."""
PROCESSOR = ".processor."
"""Old names of diffusers call the layers of attention by the processor that holds their LoRAs."""


@dataclass(frozen=True, slots=True)
class Words:
    """Parts of a LoRA as a dialect calls them.

    mid, alpha: None where it has none: a core is multiplied out, the scale is multiplied into `up`
    bias:       difference of a bias;  magnitude: of DoRA
    """

    up: str
    down: str
    mid: str | None = None
    alpha: str | None = None
    bias: str = "lora_B.bias"
    magnitude: str | None = "lora_magnitude_vector"


KOHYA_WORDS = Words("lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha", "diff_b", "dora_scale")
PEFT_WORDS = Words("lora_B.weight", "lora_A.weight")
DIFFUSERS_WORDS = Words("lora.up.weight", "lora.down.weight", magnitude=None)
ENCODER_WORDS = Words("lora_linear_layer.up.weight", "lora_linear_layer.down.weight", magnitude=None)
MOST_ASKED = 64
"""Modules of a file that are looked at to tell its dialect."""


@dataclass(frozen=True)
class Dialect:
    """A way to write an adapter file.

    starts:    how the names of a network's modules begin, the first of them when writing
    separator: between the words of a path
    spelling:  of paths; 'trained': the one that sd-scripts uses for that network
    words:     of its LoRAs;  encoder_words: of those of text encoders, where they are others
    every_kind: its readers know LyCORIS' kinds, under the names of their tensors; else LoRA and DoRA alone
    """

    id: str
    starts: Callable[[Component], tuple[str, ...]]
    separator: Literal["_", "."]
    spelling: PathSpelling
    words: Words
    encoder_words: Words | None = None
    every_kind: bool = False

    def words_of(self, component: Component) -> Words:
        return self.encoder_words if self.encoder_words and component.block else self.words

    def names(self, component: Component, path: str) -> tuple[tuple[str, LayerAddress], ...]:
        """How the dialect calls a layer, or each of its row slices; nothing where it has no name for it."""
        starts = self.starts(component)
        if not starts:
            return ()
        named = component.paths_of(path, self.spelling)
        return tuple((f"{starts[0]}{name.replace('.', self.separator)}", place) for name, place in named)


def _kohya(component: Component) -> tuple[str, ...]:
    return tuple(start for start in component.kohya if start not in _lycoris(component))


def _lycoris(component: Component) -> tuple[str, ...]:
    return ("lycoris_",) if component.structure else ()


def _comfyui(component: Component) -> tuple[str, ...]:
    if component.structure:
        return ("diffusion_model.",)
    if component.prefix.startswith(ENCODERS):
        return (component.prefix,)
    return (f"{ENCODERS}{component.comfyui}",) if component.comfyui else ()


def _original(component: Component) -> tuple[str, ...]:
    return (*_comfyui(component), component.prefix, *component.others, *_bare(component))


def _bare(component: Component) -> tuple[str, ...]:
    return ("",) if component.structure else ()


def _folder(component: Component) -> tuple[str, ...]:
    """The other folder of a U-Net or transformer, too: some programs call every one of them `unet`."""
    own = f"{component.folder}."
    return tuple(dict.fromkeys((own, "unet.", "transformer.", ""))) if component.structure else (own,)


DIALECTS = (
    Dialect("kohya", _kohya, "_", "trained", KOHYA_WORDS, every_kind=True),
    Dialect("lycoris", _lycoris, "_", "diffusers", KOHYA_WORDS, every_kind=True),
    Dialect("xlabs", _bare, ".", "original", DIFFUSERS_WORDS),
    Dialect("comfyui", _comfyui, ".", "original", KOHYA_WORDS, every_kind=True),
    Dialect("original", _original, ".", "original", PEFT_WORDS),
    Dialect("peft", _folder, ".", "diffusers", PEFT_WORDS),
    Dialect("diffusers", _folder, ".", "diffusers", DIFFUSERS_WORDS, ENCODER_WORDS),
)
"""A module is of the first dialect that fits it."""
WRITTEN = {dialect.id: dialect for dialect in DIALECTS if dialect.id not in ("lycoris", "xlabs")}
"""Those that files are converted to."""


@dataclass(frozen=True, slots=True)
class _Start:
    text: str
    component: Component
    separator: str


@lru_cache(maxsize=64)
def _starts(family: Family) -> tuple[_Start, ...]:
    """Every start of names that a family's adapters have, longer ones first."""
    found = {
        (start, component.id): _Start(start, component, dialect.separator)
        for dialect in DIALECTS
        for component in family.components
        for start in dialect.starts(component)
        if start
    }
    return tuple(sorted(found.values(), key=lambda start: -len(start.text)))


FLAT = ("lora_", "lycoris_")
"""How names begin whose dots are underscores. No path of a layer begins so."""


def canonical_of_raw(family: Family, raw_name: str, home: str = "") -> str | None:
    """Canonical name of a module as any dialect spells it; None if the family has no such module."""
    place = address_of_raw(family, raw_name, home)
    return place.module if place else None


@lru_cache(
    maxsize=65_536
)  # a command asks for the same names several times: to recognise, plan, write, verify
def address_of_raw(family: Family, raw_name: str, home: str = "") -> LayerAddress | None:
    """Which module, or which rows of one, a name of any dialect means; None if the family has no such layer.

    home: the folder of the file, see `home_of`: a file of PEFT in `text_encoder` names no network.
    """
    name = raw_name.removeprefix(WRAPPER)
    for start in _starts(family):
        if not name.startswith(start.text):
            continue
        path = name[len(start.text) :]
        if start.separator == "_":
            found = start.component.address_of_flat(path)
        else:
            found = _address(start.component, path.removeprefix(WRAPPER))
        if found is not None:
            return found
    return None if name.startswith(FLAT) else _address_without_start(family, name, home)


def _address_without_start(family: Family, name: str, home: str) -> LayerAddress | None:
    """Of the network whose folder it lies in, else of the denoiser, else of the only one that has it."""
    for component in family.components:
        if component.folder == home:
            return _address(component, name)
    found = _address(family.component("unet"), name)
    if found is not None:
        return found
    encoders = [component for component in family.components if component.block]
    places = list(filter(None, (_address(component, name) for component in encoders)))
    return places[0] if len(places) == 1 else None


def _address(component: Component, path: str) -> LayerAddress | None:
    """Of a dotted path, as it stands or in an older spelling."""
    for spelled in _spellings(path):
        if (found := component.address_of_path(spelled)) is not None:
            return found
    return component.address_of_path(f"{INNER}{path}") if component.block else None


def _spellings(path: str) -> tuple[str, ...]:
    plain = path.replace(PROCESSOR, ".")
    return (path, plain, f"{plain}.0") if plain.endswith(".to_out") else (path, plain)


def home_of(path: str | Path | None) -> str:
    """The folder of a pipeline that a file of PEFT lies in: `text_encoder` or `text_encoder/default`."""
    if path is None:
        return ""
    names = [parent.name for parent in Path(path).parents[:2]]
    return next((name for name in names if name in _folders()), "")


@lru_cache(maxsize=1)
def _folders() -> frozenset[str]:
    from loralathe.families import FAMILIES

    return frozenset(component.folder for family in FAMILIES for component in family.components)


def dialect_of(family: Family, modules: Mapping[str, Mapping[str, str]]) -> str:
    """The dialect of most modules (raw name → part → key), some of them asked; 'dotted' if it is none."""
    step = max(1, len(modules) // MOST_ASKED)
    asked = list(modules.items())[::step]
    counts = Counter(_dialect_of_module(family, name, parts) for name, parts in asked)
    return counts.most_common(1)[0][0]


def _dialect_of_module(family: Family, raw_name: str, parts: Mapping[str, str]) -> str:
    name = raw_name.removeprefix(WRAPPER)
    for dialect in DIALECTS:
        for component in family.components:
            words = dialect.words_of(component)
            told = dialect.separator == "." and dialect.id != "original"
            if told and not {words.up, words.down} & parts.keys():
                continue
            for start in dialect.starts(component):
                path = name[len(start) :].removeprefix(WRAPPER)
                if name.startswith(start) and _spells(dialect, component, path):
                    return dialect.id
    return "dotted"


def _spells(dialect: Dialect, component: Component, path: str) -> bool:
    if dialect.separator == "_":
        return True
    if dialect.id == "xlabs":
        return PROCESSOR in path and component.address_of_path(path) is not None
    if dialect.spelling == "original":
        return component.find(path) is not None
    return _address(component, path) is not None
