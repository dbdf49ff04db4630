"""What a model family is: all its facts in one value, and every question about names answered from them.

One instance a family (`sd1.py`, `sdxl.py`, `flux.py` …): structure and names only. Nothing here knows a
width or a depth, so a model a sixteenth as wide with two layers is understood alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from loralathe.errors import InputError, did_you_mean
from loralathe.families.components import BIAS, REMEMBERED, Component, Denoiser, LayerAddress, Module
from loralathe.families.encoders import ATTENTION, ENCODER_LAYERS, deepest_layer
from loralathe.families.layers import Layer
from loralathe.families.loaders import TRANSFORMER_LOADERS, Loaders
from loralathe.families.metadata import MetadataWords
from loralathe.families.pictures import Pictures
from loralathe.families.recognition import KeyRule, Signature, UnreadFile, find_rule

BASE = "BASE"
"""The block of text encoders that share one."""
ENCODER_NAMES = ("TE1", "TE2")
"""Names of single encoders among those; they win over BASE."""


@dataclass(frozen=True, slots=True)
class ShapeEvidence:
    """Shapes by which an adapter is told from one for another family that has the same names.

    columns: end of a module's name → inputs of that layer;  axes: the same → axes of its weight
    ratios:  the same → (rows, inputs) of its weight, both in any unit: true at every width
    """

    columns: Mapping[str, int] = field(default_factory=dict)
    ratios: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    axes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Family:
    """A model family; see the module docstring. `eq=False`: the instances are compared by identity.

    released:     year and month; where nothing tells which of several families a file is of, it is the oldest
    signature:    how a checkpoint of it is recognised;  unread: its files in layouts that are not read
    evidence:     what else tells its adapters
    components:   its networks; the U-Net or transformer is called 'unet'
    words:        for the metadata of its LoRAs
    prediction:   what its models predict where a file does not tell; None: the weights must be asked
    marks:        key → what it says of predictions
    seldom:       few adapters are made for it: one that fits another family, too, is taken for that
    rules:        tensors that are not weights, beside those of every family
    presets:      name of block weights → the ranges of blocks that weigh 1, BASE always with them
    element_presets: name of element rules → the rules
    also_accepts: block lists of other families that can be read
    colours:      what adjust()'s BRI, COL1, COL2 and COL3 add to the latents' channels 1, 2 and 3
    loaders:      under which names other programs look for layers of the U-Net or transformer
    pictures:     how they are made; None: they cannot be rendered here
    undrawn:      why not, where there is more to say
    """

    id: str
    label: str
    released: str
    signature: Signature
    components: tuple[Component, ...]
    words: MetadataWords
    unread: tuple[UnreadFile, ...] = ()
    evidence: ShapeEvidence = field(default_factory=ShapeEvidence)
    prediction: str | None = "epsilon"
    marks: Mapping[str, str] = field(default_factory=dict)
    seldom: bool = False
    rules: tuple[KeyRule, ...] = ()
    presets: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    element_presets: Mapping[str, str] = field(default_factory=dict)
    also_accepts: tuple[tuple[str, ...], ...] = ()
    colours: tuple[tuple[float, ...], ...] | None = None
    loaders: Loaders = field(default_factory=lambda: TRANSFORMER_LOADERS)
    pictures: Pictures | None = None
    undrawn: str = ""

    # Components

    def component(self, name: str) -> Component:
        """By its id; KeyError if the family has none of that name."""
        return self._by_id[name]

    @cached_property
    def _by_id(self) -> dict[str, Component]:
        return {component.id: component for component in self.components}

    @cached_property
    def denoiser(self) -> Denoiser:
        """Structure of the U-Net or transformer."""
        structure = self.component("unet").structure
        assert structure is not None
        return structure

    @property
    def entry_module(self) -> str:
        """Canonical name of the layer that takes the image in; models differ in its input channels."""
        return f"unet.{self.denoiser.entry}"

    @property
    def entry_key(self) -> str:
        """Checkpoint key of its weight."""
        return f"{self.component('unet').prefix}{self.denoiser.entry}.weight"

    # Blocks

    @cached_property
    def encoder_blocks(self) -> dict[str, str]:
        """Text encoder → its block: BASE for all of them, or each a block of its own."""
        return {component.id: component.block for component in self.components if component.block}

    @cached_property
    def long_blocks(self) -> tuple[str, ...]:
        """Names of the long block list in order: text encoders, every block of the U-Net or transformer."""
        return (*dict.fromkeys(self.encoder_blocks.values()), *self.denoiser.blocks())

    @cached_property
    def short_blocks(self) -> tuple[str, ...]:
        """Names of the short block list: the blocks that hold attention, after a BASE that encoders share."""
        shared = (BASE,) if BASE in self.encoder_blocks.values() else ()
        return (*shared, *self.denoiser.short_blocks())

    def block_of_key(self, key: str) -> str | None:
        """Block of any checkpoint key; None for what is in none (U-Nets' time_embed, label_emb, out; VAE)."""
        component = self._owner(key)
        return component.block_of_path(component.path(key) or "") if component else None

    def block_of_module(self, module_name: str) -> str | None:
        """Block of a module by its canonical name."""
        name, _, path = module_name.partition(".")
        component = self._by_id.get(name)
        return component.block_of_path(path) if component else None

    # Modules

    def modules(self, header_keys: Iterable[str]) -> dict[str, Module]:
        """Canonical name → module, for every layer among these checkpoint keys (norms included)."""
        found: dict[str, Module] = {}
        for key in header_keys:
            for module in self.modules_of_key(key):
                found.setdefault(module.name, module)
        for name in self._unused_modules(found):
            found[name] = replace(found[name], scope="outside")
        return found

    def numbered_key(self, key: str) -> tuple[str, int] | None:
        """Of a tensor of equal layers in a row: `unet.blocks.#.attn.qkv.weight` and its number; else None."""
        component = self._owner(key)
        return component.numbered(key) if component else None

    def numbered_module(self, name: str) -> tuple[str, int] | None:
        """The same of a module by its canonical name: `unet.blocks.#.attn.qkv` and its number."""
        component, entry, number = self._find_module(name.removesuffix(BIAS))
        return (f"{component.id}.{entry.name}", int(number)) if number is not None else None

    def biases(self, header_keys: Iterable[str]) -> dict[str, Module]:
        """Canonical name (the layer's, and `.bias`) → the bias as a module of its own."""
        found: dict[str, Module] = {}
        for key in header_keys:
            component = self._owner(key)
            for module in component.modules(key, "bias") if component else ():
                found.setdefault(module.name, module)
        return found

    def module(self, name: str) -> Module:
        """A module or bias by its canonical name, in a checkpoint or not; KeyError if the family lacks it."""
        stem = name.removesuffix(BIAS)
        component, entry, number = self._find_module(stem)
        if name != stem and entry.bias is None:
            raise KeyError(f"'{stem}' of {self.label} has no bias")
        return component.module(entry, number, bias=name != stem)

    def modules_of_key(self, key: str) -> tuple[Module, ...]:
        """The modules whose weight is this tensor: one, three for a fused q/k/v, none for a bias."""
        component = self._owner(key)
        return tuple(component.modules(key, "weight")) if component else ()

    def _unused_modules(self, names: Iterable[str]) -> set[str]:
        """The deepest layer of an encoder that is read one layer before: no trainer touches it."""
        unused: set[str] = set()
        for component in self.components:
            if component.last_layer_unused:
                unused |= deepest_layer(names, f"{component.id}.{ENCODER_LAYERS}")
        return unused

    def kernel_of_module(self, module_name: str) -> int:
        """Height and width of a module's convolution, 0 for others; KeyError if the family lacks it."""
        _, entry, _ = self._find_module(module_name.removesuffix(BIAS))
        return 0 if module_name.endswith(BIAS) else entry.kernel

    def read_together(self, module_name: str) -> tuple[str, ...]:
        """Modules that A1111 uses only if an adapter has all of them, this one among them; mostly none.

        q, k, v and out of an attention that checkpoints hold fused. (A1111's `network_apply_weights`)
        """
        stem, _, last = module_name.rpartition(".")
        first = self.module_named(f"{stem}.{ATTENTION[0]}") if last in ATTENTION else None
        if first is None or self.module(first).part is None:
            return ()
        return tuple(f"{stem}.{projection}" for projection in ATTENTION)

    def module_named(self, module_name: str) -> str | None:
        """The name itself if the family can have such a module, else None."""
        name, _, path = module_name.partition(".")
        component = self._by_id.get(name)
        return module_name if component and component.find(path) else None

    # Names in adapter files

    def module_of_kohya(self, name: str) -> str | None:
        """Canonical name of `lora_unet_…`, `lora_te…`; original and diffusers spelling; None if not ours."""
        address = self.address_of_kohya(name)
        return address.module if address else None

    def address_of_kohya(self, name: str) -> LayerAddress | None:
        """The same for layers that are a part of a module, too."""
        found = (component.address_of_kohya(name) for component in self.components)
        return next((address for address in found if address), None)

    def kohya_name(self, module_name: str) -> str:
        """How sd-scripts names this module; KeyError for a module the family cannot have."""
        component, entry, number = self._find_module(module_name)
        if not component.kohya:
            raise KeyError(f"adapters have no name for modules of '{component.id}'")
        return component.kohya_name(entry, number)

    def module_of_diffusers(self, component: str, path: str) -> str | None:
        """Canonical name of a diffusers path: ('unet', 'conv_in') → 'unet.input_blocks.0.0'; else None."""
        found = self._by_id.get(component)
        address = found.address_of_path(path) if found else None
        return address.module if address else None

    # Keys of a checkpoint

    def component_of_key(self, key: str) -> str | None:
        """'unet', 'te1', 'te2', 'te3' or 'vae'; None for what belongs to no network (marks, buffers, EMA)."""
        component = self._owner(key)
        return component.id if component else None

    def knows_key(self, key: str) -> bool:
        """Is this a weight or bias of the family? (Anything else: see `rule_for_key`.)"""
        component = self._owner(key)
        return component is not None and component.tensor(key) is not None

    def modern_key(self, key: str) -> str:
        """The key as most files name it today, by which files of different habits are matched.

        The oldest leave out CLIP's inner `text_model.`, a transformer alone its prefix.
        """
        component = self._owner(key)
        return component.modern_key(key) if component else key

    def modern_shape(self, key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a tensor under its modern key as most files have it."""
        component = self._owner(key)
        return component.modern_shape(key, shape) if component else shape

    def is_bare(self, key: str) -> bool:
        """Does the key leave out the prefix of its component? Outputs then do, too."""
        component = self._owner(key)
        return component is not None and not key.startswith(component.root)

    def rule_for_key(self, key: str) -> str | None:
        """Name of the rule by which this key is never averaged but taken from the first checkpoint."""
        rule = find_rule(key, self.rules)
        return rule.name if rule else None

    def is_frozen(self, key: str) -> bool:
        """Marks, position ids and buffers: copied byte for byte, never cast."""
        rule = find_rule(key, self.rules)
        return rule is not None and rule.frozen

    @cached_property
    def _owner(self) -> Callable[[str], Component | None]:
        """The component of a checkpoint key; asked repeatedly."""
        return lru_cache(REMEMBERED)(
            lambda key: next((component for component in self.components if component.owns(key)), None)
        )

    def _find_module(self, module_name: str) -> tuple[Component, Layer, str | None]:
        name, _, path = module_name.partition(".")
        component = self._by_id.get(name)
        found = component.find(path) if component else None
        if component is None or found is None:
            raise KeyError(f"{self.label} has no module '{module_name}'")
        return component, *found


_known: list[Family] = []
FAMILIES: Sequence[Family] = _known
"""Every family that is known, the oldest first. The files of this folder register theirs when imported."""


def register(family: Family) -> Family:
    """Make a family known to all commands; the family itself again. ValueError if its id is taken."""
    if any(known.id == family.id for known in _known):
        raise ValueError(f"there are two families called '{family.id}'")
    _known.append(family)
    _known.sort(key=lambda known: known.released)
    return family


def family_by_id(name: str) -> Family:
    """'sd1', 'sdxl' …, in any case; InputError with close matches otherwise."""
    by_id = {family.id: family for family in FAMILIES}
    found = by_id.get(name.casefold())
    if found is None:
        raise InputError(
            f"no model family is called '{name}'", fix=did_you_mean(name, by_id) or f"use {', '.join(by_id)}"
        )
    return found


def supported_families(families: Sequence[Family] = FAMILIES, last: str = "and") -> str:
    """Their names for people: 'SD 1.5, SD 2, SDXL and Flux'."""
    *first, end = (family.label for family in families)
    return f"{', '.join(first)} {last} {end}" if first else end
