"""The networks of a checkpoint, their layers, and every name of them: pure structure, no width, no depth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Literal, Protocol

from loralathe.families.layers import Found, Layer, LayerTable, Part, Scope, Transform, fill, flat
from loralathe.families.recognition import DENOISER_PREFIX

BIAS = ".bias"
"""Behind a layer's canonical name: the module that its bias is."""
REMEMBERED = 1 << 13
"""Answers about keys that are kept: more than the largest model has of them."""


@dataclass(frozen=True, slots=True)
class Module:
    """One layer that an adapter can change.

    name:      canonical, `component.path`: `unet.input_blocks.4.1.proj_in`; OpenCLIP layers carry
               the same transformers-style names as CLIP: `te2.text_model.encoder.layers.3.mlp.fc1`
    component: 'unet' (a transformer, too), 'te1', 'te2', 'te3' or 'vae'
    key:       checkpoint key of its weight, original layout, with prefix
    part:      (i, n): the i-th of n equal row slices of that tensor; None: all of it
    transpose: the checkpoint stores the weight as (in, out) instead of (out, in)
    block:     name of its block in the family's long list; None for layers in no block
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
    """A tensor, or an equal row slice of one, that makes up a tensor of the diffusers layout.

    diffusers tensor = transform(original[rows of part]); `conv1x1_to_linear` drops two axes of size 1.
    """

    key: str
    part: Part | None
    transform: Transform


@dataclass(frozen=True, slots=True)
class LayerAddress:
    """Which module a layer of another layout is: all of it, or one of its row slices.

    slot:    which of the slices, None for all rows;  ratios: rows of each slice, in inputs of the layer
    swapped: the two halves of its rows change places
    """

    module: str
    slot: int | None = None
    ratios: tuple[int, ...] = ()
    swapped: bool = False


class Denoiser(Protocol):
    """Structure of the network that pictures come from (`UNet`, `Transformer`); paths are behind its prefix.

    kind:   what people call it;  entry: path of the layer that takes the image in
    inputs: number of its input channels → variant; other numbers are errors
    """

    @property
    def kind(self) -> str: ...
    @property
    def entry(self) -> str: ...
    @property
    def inputs(self) -> Mapping[int, str]: ...

    def layers(self) -> Iterable[Layer]: ...

    def missing(self, paths: Collection[str]) -> list[str]:
        """Tensors that no such network can be without and that are not among `paths`."""
        ...

    def variant(self, channels: int, paths: Collection[str]) -> str:
        """'base', 'inpainting', 'dev' …, as a file with these tensors is called."""
        ...

    def blocks(self) -> tuple[str, ...]:
        """Its blocks as the model runs."""
        ...

    def short_blocks(self) -> tuple[str, ...]:
        """Those that hold attention: all that a linear-only LoRA can touch."""
        ...

    def block_of_path(self, path: str) -> str | None:
        """Block of a layer or tensor; None for those in no block."""
        ...

    def borrowed_blocks(self) -> Mapping[str, tuple[str, ...]]:
        """Block → layers in no block that merges of whole models weigh like it."""
        ...


@dataclass(frozen=True)
class Component:
    """One network inside a checkpoint.

    label:   what people call it
    root:    every key of the component starts so; prefix: the keys of its layers do
    folder:  its folder in the diffusers layout
    kohya:   how adapter files start its names, the first of them when writing; spelling: which of the two
             paths adapters write
    implied: path start that old files leave out of their keys (CLIP's inner `text_model.`)
    bare:    how keys begin in files that leave out the prefix (a Flux transformer alone)
    renamed: parts of keys in some files → what most files have there
    last_layer_unused: the deepest encoder layer is never read (SD 2 reads the one before)
    block:   of all its modules, for a text encoder;  structure: of the U-Net or transformer
    """

    id: str
    label: str
    root: str
    prefix: str
    folder: str
    layers: Callable[[], Iterable[Layer]]
    kohya: tuple[str, ...] = ()
    spelling: Literal["original", "diffusers"] = "original"
    implied: str = ""
    bare: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    last_layer_unused: bool = False
    block: str | None = None
    structure: Denoiser | None = None

    @cached_property
    def table(self) -> LayerTable:
        return LayerTable(self.layers())

    # Keys of a checkpoint

    @cached_property
    def _starts(self) -> tuple[str, ...]:
        return (self.root, *self.bare)

    def owns(self, key: str) -> bool:
        return key.startswith(self._starts)

    def path(self, key: str) -> str | None:
        """The key behind the prefix; None for what stands beside the layers (`logit_scale`)."""
        if key.startswith(self.prefix):
            return key[len(self.prefix) :]
        return key if self.bare and key.startswith(self.bare) else None

    @cached_property
    def tensor(self) -> Callable[[str], Found[tuple[tuple[Layer, str], ...]] | None]:
        """The layers a checkpoint key holds, each with 'weight' or 'bias'; asked repeatedly."""
        return lru_cache(REMEMBERED)(self._tensor)

    def _tensor(self, key: str) -> Found[tuple[tuple[Layer, str], ...]] | None:
        relative = self.path(key)
        if relative is None:
            return None
        found = self.table.by_tensor.find(relative)
        if found is None and self.implied and not relative.startswith(self.implied):
            found = self.table.by_tensor.find(self.implied + relative)
        return found

    def modules(self, key: str, role: Literal["weight", "bias"]) -> Iterator[Module]:
        """The modules whose weight (or bias) is this tensor: one, three for a fused q/k/v, or none."""
        layers, number = self.tensor(key) or ((), None)
        for entry, there in layers:
            if there == role:
                yield self._module(entry, number, key, bias=role == "bias")

    def modern_key(self, key: str) -> str:
        """The key as most files name it today: with the prefix, and with CLIP's inner `text_model.`."""
        if not key.startswith(self.root):
            return self.prefix + key
        for part, today in self.renamed.items():
            if part in key:
                return key.replace(part, today)
        if not self.implied or not key.startswith(self.prefix):
            return key
        full = f"{self.prefix}{self.implied}{key[len(self.prefix) :]}"
        found = self.tensor(full) is not None or full.endswith("embeddings.position_ids")
        return full if found and not key.startswith(self.prefix + self.implied) else key

    def modern_shape(self, key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape under a modern key as most files have it: some store 1×1 convolutions as matrices."""
        layers, _ = self.tensor(key) or ((), None)
        convolution = any((one.transform, role) == ("conv1x1_to_linear", "weight") for one, role in layers)
        return (*shape, 1, 1) if convolution and len(shape) == 2 else shape

    # Modules by name

    def find(self, path: str) -> Found[Layer] | None:
        """The layer with this canonical path, and the number in it."""
        return self.table.by_name.find(path)

    def module(self, entry: Layer, number: str | None, *, bias: bool = False) -> Module:
        tensor = entry.bias if bias and entry.bias is not None else entry.weight
        return self._module(entry, number, self.prefix + fill(tensor, number), bias=bias)

    def _module(self, entry: Layer, number: str | None, key: str, *, bias: bool) -> Module:
        path = fill(entry.name, number)
        module = Module(
            name=f"{self.id}.{path}",
            component=self.id,
            key=key,
            part=entry.part,
            transpose=entry.transform == "transpose",
            block=self.block_of_path(path),
            scope=entry.scope,
        )
        return replace(module, name=module.name + BIAS, transpose=False, scope="vector") if bias else module

    def block_of_path(self, path: str) -> str | None:
        return self.structure.block_of_path(path) if self.structure else self.block

    # Names in adapter files and in the diffusers layout

    def kohya_name(self, entry: Layer, number: str | None) -> str:
        path = entry.name if self.spelling == "original" else entry.diffusers
        return self.kohya[0] + flat(fill(path or entry.name, number))

    def address_of_kohya(self, name: str) -> LayerAddress | None:
        """The layer that `lora_unet_…` means, in the original or the diffusers spelling."""
        for prefix in self.kohya:
            if not name.startswith(prefix):
                continue
            path = name[len(prefix) :]
            if (found := self.table.by_flat.find(path)) is not None:
                return self._address(*found, renamed=flat(fill(found[0].name, found[1])) != path)
            if (slot := self.table.by_flat_slot.find(path)) is not None:
                (entry, index), number = slot
                return self._address(entry, number, index)
        return None

    def address_of_diffusers(self, path: str) -> LayerAddress | None:
        """The layer that a path of the diffusers layout means."""
        if (found := self.table.by_diffusers.find(path)) is not None:
            return self._address(*found, renamed=True)
        if (slot := self.table.by_slot.find(path)) is not None:
            (entry, index), number = slot
            return self._address(entry, number, index)
        return None

    def _address(
        self, entry: Layer, number: str | None, slot: int | None = None, *, renamed: bool = False
    ) -> LayerAddress:
        """renamed: the name is the diffusers one, and so is the order of the rows."""
        swapped = renamed and entry.transform == "halves_swapped"
        return LayerAddress(f"{self.id}.{fill(entry.name, number)}", slot, entry.ratios, swapped)

    def piece_of_diffusers(self, diffusers_key: str) -> Piece | None:
        """The piece of the original layout that makes up this tensor of the diffusers layout."""
        path, _, role = diffusers_key.rpartition(".")
        found = self.table.by_diffusers.find(path)
        if found is None or role not in ("weight", "bias"):
            return None
        entry, number = found
        tensor = entry.weight if role == "weight" else entry.bias
        if tensor is None:
            return None
        transform = entry.transform if role == "weight" else "none"
        return Piece(self.prefix + fill(tensor, number), entry.part, transform)


def denoiser_component(
    structure: Denoiser,
    spelling: Literal["original", "diffusers"],
    *,
    folder: str = "unet",
    bare: tuple[str, ...] = (),
    kohya: tuple[str, ...] = (),
) -> Component:
    """The U-Net or transformer of a single-file checkpoint.

    spelling: how sd-scripts writes its adapter names;  bare: how keys begin where the prefix is left out.
    kohya: how else names of adapters may begin.
    """
    return Component(
        id="unet",
        label=structure.kind,
        root=DENOISER_PREFIX,
        prefix=DENOISER_PREFIX,
        folder=folder,
        layers=structure.layers,
        bare=bare,
        kohya=("lora_unet_", "lycoris_", "oft_unet_", *kohya),
        spelling=spelling,
        structure=structure,
    )
