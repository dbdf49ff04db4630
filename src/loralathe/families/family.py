"""What a model family is, and every question about names that can be answered from its data.

One instance a family (`sd1.py`, `sdxl.py`, `flux.py` …): structure and prefixes only. Nothing here
knows a width or a depth, so a model a sixteenth as wide with two layers is understood alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from loralathe.families.denoiser import Denoiser
from loralathe.families.encoders import ENCODER_LAYERS, deepest_layer
from loralathe.families.names import (
    Found,
    Layer,
    LayerTable,
    Part,
    Scope,
    Transform,
    fill,
    flat,
)
from loralathe.families.rules import KeyRule, find_rule
from loralathe.families.signatures import Signature

BIAS = ".bias"
"""Behind a layer's canonical name: the module that its bias is."""
COMPONENT_NAMES = {
    "unet": "U-Net",
    "te1": "text encoder 1",
    "te2": "text encoder 2",
    "te3": "T5 text encoder",
    "vae": "VAE",
}
"""What people call the components."""


@dataclass(frozen=True, slots=True)
class Module:
    """One layer that an adapter can change.

    name:      canonical, `component.path`: `unet.input_blocks.4.1.proj_in`; OpenCLIP layers carry
               the same transformers-style names as CLIP: `te2.text_model.encoder.layers.3.mlp.fc1`
    component: 'unet' (a transformer, too), 'te1', 'te2', 'te3' or 'vae'
    key:       checkpoint key of its weight, original layout, with prefix
    part:      (i, n): the i-th of n equal row slices of that tensor; None: all of it
    transpose: the checkpoint stores the weight as (in, out) instead of (out, in)
    block:     BASE, IN00…, MID, OUT00…; on Flux CLIP, T5, IN, D00…, S00…, OUT; None for layers in no block
    scope:     'linear': attention, MLP and projection layers (what kohya trains by default);
               'conv': resnets and samplers (trained with a conv rank); 'vector': norms and biases, which
               have no factors; 'outside': all else
    """

    name: str
    component: str
    key: str
    part: Part | None
    transpose: bool
    block: str | None
    scope: Scope


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor, or an equal row slice of one, and its place in the diffusers layout.

    diffusers tensor = transform(original[rows of part]); `conv1x1_to_linear` drops two axes of size 1.
    """

    key: str
    part: Part | None
    transform: Transform
    component: str
    diffusers_key: str


@dataclass(frozen=True, slots=True)
class LayerAddress:
    """What a layer of another layout is of a module: all of it, or one of its row slices.

    slot:    which of the `slots` slices, None for all rows
    swapped: the two halves of its rows change places
    """

    module: str
    slot: int | None = None
    slots: int = 1
    swapped: bool = False


@dataclass(frozen=True)
class Component:
    """One network inside a checkpoint.

    root:    every key of the component starts so; prefix: the keys of its layers do
    implied: path start that old files leave out of their keys (CLIP's inner `text_model.`)
    bare:    how keys begin in files that leave out the prefix (a Flux transformer alone)
    folder:  its folder in the diffusers layout; kohya: how adapter files start its names, the
             first of them when writing; spelling: which of the two paths adapters write
    last_layer_unused: diffusers drops the deepest encoder layer (SD 2 reads the one before)
    block:   of all its modules, for a text encoder
    """

    id: str
    root: str
    prefix: str
    folder: str
    layers: Callable[[], Iterable[Layer]]
    kohya: tuple[str, ...] = ()
    spelling: Literal["original", "diffusers"] = "original"
    implied: str = ""
    bare: tuple[str, ...] = ()
    last_layer_unused: bool = False
    block: str = "BASE"

    @cached_property
    def table(self) -> LayerTable:
        return LayerTable(self.layers())

    def owns(self, key: str) -> bool:
        return key.startswith((self.root, *self.bare))

    def path(self, key: str) -> str | None:
        """The key behind the prefix; None for what stands beside the layers (`logit_scale`)."""
        if key.startswith(self.prefix):
            return key[len(self.prefix) :]
        return key if self.bare and key.startswith(self.bare) else None

    def tensor(self, key: str) -> Found[tuple[tuple[Layer, str], ...]] | None:
        """The layers a checkpoint key holds, each with 'weight' or 'bias'."""
        relative = self.path(key)
        if relative is None:
            return None
        found = self.table.by_tensor.find(relative)
        if found is None and self.implied and not relative.startswith(self.implied):
            found = self.table.by_tensor.find(self.implied + relative)
        return found


@dataclass(frozen=True, eq=False)
class Family:
    """A model family; see the module docstring. `eq=False`: the instances are compared by identity.

    also_accepts: block lists of other families that can be read;  marks: key → what it says of predictions
    rules:        keys that are never averaged, beside those of every family
    """

    id: str
    label: str
    denoiser: Denoiser
    parts: tuple[Component, ...]
    signature: Signature
    also_accepts: tuple[tuple[str, ...], ...] = ()
    default_prediction: str | None = "epsilon"
    marks: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[KeyRule, ...] = ()

    @cached_property
    def components(self) -> dict[str, str]:
        """Component id → the key prefix of its layers."""
        return {part.id: part.prefix for part in self.parts}

    @cached_property
    def long_blocks(self) -> tuple[str, ...]:
        """Names of the long block list in order: text encoders, every block of the U-Net or transformer."""
        return self.denoiser.blocks()

    @cached_property
    def short_blocks(self) -> tuple[str, ...]:
        """Names of the short block list: the blocks that hold attention (and BASE, on U-Nets)."""
        return self.denoiser.short_blocks()

    @cached_property
    def encoder_blocks(self) -> dict[str, str]:
        """Text encoder → its block: BASE for all of them, or each a block of its own."""
        return {part.id: part.block for part in self.parts if part.id.startswith("te")}

    # Modules

    def modules(self, header_keys: Iterable[str]) -> dict[str, Module]:
        """Canonical name → module, for every layer among these checkpoint keys (norms included)."""
        found: dict[str, Module] = {}
        for key in header_keys:
            for module in self.modules_of_key(key):
                found.setdefault(module.name, module)
        for name in found.keys() & self._unused_modules(found):
            found[name] = replace(found[name], scope="outside")
        return found

    def biases(self, header_keys: Iterable[str]) -> dict[str, Module]:
        """Canonical name (the layer's, and `.bias`) → the bias as a module of its own."""
        found: dict[str, Module] = {}
        for key in header_keys:
            part = self._part_of_key(key)
            layers, number = (part.tensor(key) if part else None) or ((), None)
            for entry, role in layers:
                if part is not None and role == "bias":
                    module = self._bias(part, entry, number, key)
                    found.setdefault(module.name, module)
        return found

    def module(self, name: str) -> Module:
        """A module or bias by its canonical name, in a checkpoint or not; KeyError if the family lacks it."""
        if name.endswith(BIAS):
            part, entry, number = self._find_module(name.removesuffix(BIAS))
            if entry.bias is None:
                raise KeyError(f"'{name.removesuffix(BIAS)}' of {self.label} has no bias")
            return self._bias(part, entry, number, part.prefix + fill(entry.bias, number))
        part, entry, number = self._find_module(name)
        return self._module(part, entry, number, part.prefix + fill(entry.weight, number))

    def _unused_modules(self, names: Iterable[str]) -> set[str]:
        """The deepest layer of an encoder that is read one layer before: no trainer touches it."""
        unused: set[str] = set()
        for part in self.parts:
            if part.last_layer_unused:
                unused |= deepest_layer(names, f"{part.id}.{ENCODER_LAYERS}")
        return unused

    def modules_of_key(self, key: str) -> tuple[Module, ...]:
        """The modules whose weight is this tensor: one, three for a fused q/k/v, none for a bias."""
        part = self._part_of_key(key)
        found = part.tensor(key) if part else None
        if part is None or found is None:
            return ()
        layers, number = found
        return tuple(self._module(part, entry, number, key) for entry, role in layers if role == "weight")

    def _module(self, part: Component, entry: Layer, number: str | None, key: str) -> Module:
        path = fill(entry.name, number)
        return Module(
            name=f"{part.id}.{path}",
            component=part.id,
            key=key,
            part=entry.part,
            transpose=entry.transform == "transpose",
            block=self._block(part.id, path),
            scope=entry.scope,
        )

    def _bias(self, part: Component, entry: Layer, number: str | None, key: str) -> Module:
        module = self._module(part, entry, number, key)
        return replace(module, name=module.name + BIAS, transpose=False, scope="vector")

    # Names in adapter files

    def module_of_kohya(self, name: str) -> str | None:
        """Canonical name of `lora_unet_…`, `lora_te…`; original and diffusers spelling; None if not ours."""
        place = self.place_of_kohya(name)
        return place.module if place else None

    def place_of_kohya(self, name: str) -> LayerAddress | None:
        """The same for layers that are a part of a module, too."""
        for part in self.parts:
            for prefix in part.kohya:
                if not name.startswith(prefix):
                    continue
                path = name[len(prefix) :]
                found = part.table.by_flat.find(path)
                if found is not None:
                    entry, number = found
                    renamed = flat(fill(entry.name, number)) != path
                    return _place(part, entry, number, renamed=renamed)
                slot = part.table.by_flat_slot.find(path)
                if slot is not None:
                    (entry, index), number = slot
                    return _place(part, entry, number, index)
        return None

    def kohya_name(self, module_name: str) -> str:
        """How sd-scripts names this module; KeyError for a module the family cannot have."""
        part, entry, number = self._find_module(module_name)
        if not part.kohya:
            raise KeyError(f"adapters have no name for modules of '{part.id}'")
        path = entry.name if part.spelling == "original" else entry.diffusers
        return part.kohya[0] + flat(fill(path or entry.name, number))

    def module_named(self, module_name: str) -> str | None:
        """The name itself if the family can have such a module, else None."""
        component, _, path = module_name.partition(".")
        part = self._part(component)
        return module_name if part and part.table.by_name.find(path) else None

    def module_of_diffusers(self, component: str, path: str) -> str | None:
        """Canonical name of a diffusers path: ('unet', 'conv_in') → 'unet.input_blocks.0.0'; else None."""
        place = self.place_of_diffusers(component, path)
        return place.module if place else None

    def place_of_diffusers(self, component: str, path: str) -> LayerAddress | None:
        """The same for layers that are a part of a module, too."""
        part = self._part(component)
        if part is None:
            return None
        found = part.table.by_diffusers.find(path)
        if found is not None:
            return _place(part, *found, renamed=True)
        slot = part.table.by_slot.find(path)
        if slot is None:
            return None
        (entry, index), number = slot
        return _place(part, entry, number, index)

    def kernel_of_module(self, module_name: str) -> int:
        """Height and width of a module's convolution, 1 for a matrix; KeyError if the family lacks it."""
        _, entry, _ = self._find_module(module_name)
        return entry.kernel

    # Blocks, components, rules

    def block_of_key(self, key: str) -> str | None:
        """Block of any checkpoint key; None for what is in none (U-Nets' time_embed, label_emb, out; VAE)."""
        part = self._part_of_key(key)
        return self._block(part.id, part.path(key) or "") if part else None

    def block_of_module(self, module_name: str) -> str | None:
        """Block of a module by its canonical name."""
        component, _, path = module_name.partition(".")
        return self._block(component, path)

    def component_of_key(self, key: str) -> str | None:
        """'unet', 'te1', 'te2', 'te3' or 'vae'; None for what belongs to no network (marks, buffers, EMA)."""
        part = self._part_of_key(key)
        return part.id if part else None

    def knows_key(self, key: str) -> bool:
        """Is this a weight or bias of the family? (Anything else: see `rule_for_key`.)"""
        part = self._part_of_key(key)
        return part is not None and part.tensor(key) is not None

    def layers_of_key(self, key: str) -> tuple[Layer, ...]:
        """The layers that this tensor is of."""
        part = self._part_of_key(key)
        found = part.tensor(key) if part else None
        return tuple(entry for entry, _ in found[0]) if found else ()

    def modern_key(self, key: str) -> str:
        """The key as most files name it today, by which files of different habits are matched.

        The oldest leave out CLIP's inner `text_model.`, a transformer alone its prefix.
        """
        part = self._part_of_key(key)
        if part is not None and self.is_bare(key):
            return part.prefix + key
        if part is None or not part.implied or not key.startswith(part.prefix):
            return key
        full = f"{part.prefix}{part.implied}{key[len(part.prefix) :]}"
        found = part.tensor(full) is not None or full.endswith("embeddings.position_ids")
        return full if found and not key.startswith(part.prefix + part.implied) else key

    def is_bare(self, key: str) -> bool:
        """Does the key leave out the prefix of its component? Outputs then do, too."""
        part = self._part_of_key(key)
        return part is not None and not key.startswith(part.root)

    def rule_for_key(self, key: str) -> str | None:
        """Name of the rule by which this key is never averaged but taken from the first checkpoint."""
        rule = find_rule(key, self.rules)
        return rule.name if rule else None

    def is_frozen(self, key: str) -> bool:
        """Marks, position ids and buffers: copied byte for byte, never cast."""
        rule = find_rule(key, self.rules)
        return rule is not None and rule.frozen

    # Diffusers layout

    def pieces_of_key(self, key: str) -> tuple[Piece, ...]:
        """Where this tensor goes in the diffusers layout: () if it has no place there."""
        part = self._part_of_key(key)
        found = part.tensor(key) if part else None
        if part is None or found is None:
            return ()
        layers, number = found
        return tuple(
            _piece(part, entry, role, number, key) for entry, role in layers if entry.diffusers is not None
        )

    def piece_of_diffusers(self, component: str, diffusers_key: str) -> Piece | None:
        """The piece of the original layout that makes up this diffusers tensor."""
        part = self._part(component)
        path, _, role = diffusers_key.rpartition(".")
        found = part.table.by_diffusers.find(path) if part else None
        if part is None or found is None or role not in ("weight", "bias"):
            return None
        entry, number = found
        tensor = entry.weight if role == "weight" else entry.bias
        return _piece(part, entry, role, number, part.prefix + fill(tensor, number)) if tensor else None

    # Look-ups

    def _part(self, component: str) -> Component | None:
        return next((part for part in self.parts if part.id == component), None)

    def _part_of_key(self, key: str) -> Component | None:
        return next((part for part in self.parts if part.owns(key)), None)

    def _find_module(self, module_name: str) -> tuple[Component, Layer, str | None]:
        component, _, path = module_name.partition(".")
        part = self._part(component)
        found = part.table.by_name.find(path) if part else None
        if part is None or found is None:
            raise KeyError(f"{self.label} has no module '{module_name}'")
        return part, *found

    def _block(self, component: str, path: str) -> str | None:
        if component in self.encoder_blocks:
            return self.encoder_blocks[component]
        block = self.denoiser.block_of_path(path) if component == "unet" else None
        return block if block in self.long_blocks else None


def _place(
    part: Component, entry: Layer, number: str | None, slot: int | None = None, *, renamed: bool = False
) -> LayerAddress:
    """renamed: the name is the diffusers one, and so is the order of the rows."""
    swapped = renamed and entry.transform == "halves_swapped"
    return LayerAddress(f"{part.id}.{fill(entry.name, number)}", slot, len(entry.slots) or 1, swapped)


def _piece(part: Component, entry: Layer, role: str, number: str | None, key: str) -> Piece:
    assert entry.diffusers is not None
    return Piece(
        key=key,
        part=entry.part,
        transform=entry.transform if role == "weight" else "none",
        component=part.id,
        diffusers_key=f"{fill(entry.diffusers, number)}.{role}",
    )
