"""The networks of a checkpoint, their layers, and every name of them: pure structure, no width, no depth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Literal, Protocol

from loralathe.families.layers import Found, Layer, LayerTable, Part, Scope, Spelling, Transform, fill, flat
from loralathe.families.recognition import DENOISER_PREFIX

BIAS = ".bias"
"""Behind a layer's canonical name: the module that its bias is."""
PathSpelling = Literal["original", "diffusers", "trained"]
"""Which path of a layer a name has; 'trained': the one that sd-scripts uses for that network."""
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
    """A tensor, or a row slice of one, that makes up a tensor of the diffusers layout.

    diffusers tensor = transform(original[rows of part]); `conv1x1_to_linear` drops two axes of size 1.
    slot, ratios: it is this one of slices of so many inputs of the layer, see `rows`
    table: rows that the diffusers tensor has; the original is flat
    """

    key: str
    part: Part | None
    transform: Transform
    slot: int | None = None
    ratios: tuple[int, ...] = ()
    table: int = 0

    @property
    def number(self) -> int:
        """Which of the slices it is, 0 for the whole."""
        return self.part[0] if self.part is not None else self.slot or 0

    @property
    def shares(self) -> tuple[int, ...]:
        """How the rows are shared among all slices."""
        if self.part is not None:
            return (1,) * self.part[1]
        return (1,) if self.slot is None else self.ratios

    def rows(self, height: int) -> range:
        """Which rows of the original tensor, of `height` rows, it is."""
        first, unit = sum(self.shares[: self.number]), height // sum(self.shares)
        return range(first * unit, (first + self.shares[self.number]) * unit)


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

    def holds(self, paths: Iterable[str]) -> bool:
        """Whether its lists name the blocks of all these layers: it is as deep as they tell."""
        ...

    def fills(self, paths: Iterable[str]) -> bool:
        """Whether these layers go to its last block in every row of blocks that they touch."""
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
    comfyui: how ComfyUI calls a text encoder's layers behind `text_encoders.` (`clip_l.transformer.`), where
             its checkpoint keys do not begin so
    implied: path start that old files leave out of their keys (CLIP's inner `text_model.`)
    bare:    how keys begin in files that leave out the prefix (a Flux transformer alone)
    others:  what some files have in place of the prefix; names of adapters may begin so, too
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
    comfyui: str = ""
    implied: str = ""
    bare: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
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
        return (self.root, *self.others, *self.bare)

    def owns(self, key: str) -> bool:
        return key.startswith(self._starts)

    def path(self, key: str) -> str | None:
        """The key behind the prefix as most files have it; None for what stands beside the layers."""
        prefix = next((one for one in (self.prefix, *self.others) if key.startswith(one)), None)
        if prefix is None and not (self.bare and key.startswith(self.bare)):
            return None
        relative = key[len(prefix or "") :]
        for part, today in self.renamed.items():
            if part in relative:
                return relative.replace(part, today)
        return relative

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

    def numbered(self, key: str) -> tuple[str, int] | None:
        """Of a tensor of the layers in a row: its path with `#` for the number, and the number."""
        layers, number = self.tensor(key) or ((), None)
        if not layers or number is None:
            return None
        entry, role = layers[0]
        return f"{self.id}.{entry.weight if role == 'weight' else entry.bias}", int(number)

    def modern_key(self, key: str) -> str:
        """The key as most files name it today: with the prefix, and with CLIP's inner `text_model.`."""
        relative = self.path(key)
        if relative is None:
            return key
        usual = self.prefix + relative
        if not self.implied or relative.startswith(self.implied):
            return usual
        full = f"{self.prefix}{self.implied}{relative}"
        found = self.tensor(full) is not None or full.endswith("embeddings.position_ids")
        return full if found else usual

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
        """The layer that `lora_unet_…` means, in any spelling of its path."""
        starts = (start for start in self.kohya if name.startswith(start))
        found = (self.address_of_flat(name[len(start) :]) for start in starts)
        return next((address for address in found if address), None)

    def address_of_flat(self, path: str) -> LayerAddress | None:
        """The same without its start."""
        found = self.table.by_flat.find(path)
        return self._address(*found) if found else None

    def address_of_path(self, path: str) -> LayerAddress | None:
        """The layer, or the rows of one, that a dotted path of an adapter means, in any spelling.

        A bias has a path of its own, too: ComfyUI reads one for every tensor.
        """
        found = self.table.by_path.find(path)
        if found is None and path.endswith(BIAS):
            found = self.table.by_path.find(path.removesuffix(BIAS))
            whole = found is not None and found[0].layer.bias is not None and found[0].slot is None
            address = self._address(*found) if whole and found else None
            return replace(address, module=address.module + BIAS) if address else None
        return self._address(*found) if found else None

    def paths_of(self, path: str, spelling: PathSpelling) -> tuple[tuple[str, LayerAddress], ...]:
        """How a spelling calls a layer, or each of its row slices; nothing where it has no name for it."""
        found = self.find(path)
        if found is None:
            return ()
        entry, number = found
        module = f"{self.id}.{path}"
        trained = spelling == "trained"
        if (self.spelling if trained else spelling) == "original":
            return ((path, LayerAddress(module)),)
        if entry.diffusers is not None:
            swapped = entry.transform == "halves_swapped"
            return ((fill(entry.diffusers, number), LayerAddress(module, swapped=swapped)),)
        if trained or not entry.splits:
            return ((path, LayerAddress(module)),) if trained else ()
        split = entry.splits[0]
        return tuple(
            (fill(name, number), LayerAddress(module, slot, split.ratios))
            for slot, name in enumerate(split.paths)
        )

    def other_paths(self, path: str) -> tuple[str, ...]:
        """What adapters call a layer, or row slices of it, besides its original path."""
        found = self.find(path)
        if found is None:
            return ()
        entry, number = found
        slices = (name for split in entry.splits for name in split.paths)
        every = (entry.diffusers or "", *entry.aliases, *slices)
        return tuple(fill(name, number) for name in every if name and ".processor." not in name)

    def _address(self, found: Spelling, number: str | None) -> LayerAddress:
        entry = found.layer
        swapped = found.renamed and entry.transform == "halves_swapped"
        ratios = found.split.ratios if found.split else ()
        return LayerAddress(f"{self.id}.{fill(entry.name, number)}", found.slot, ratios, swapped)

    def piece_of_diffusers(self, diffusers_key: str) -> Piece | None:
        """The piece of the original layout that makes up this tensor of the diffusers layout."""
        found = self.table.by_diffusers.find(diffusers_key)
        if found is not None and found[0].bare:
            entry, number = found
            return Piece(self.prefix + fill(entry.weight, number), None, "none", table=entry.table)
        path, _, role = diffusers_key.rpartition(".")
        if role not in ("weight", "bias"):
            return None
        slot: int | None = None
        ratios: tuple[int, ...] = ()
        found = self.table.by_diffusers.find(path)
        rows = None if found else self.table.by_path.find(path)
        if rows is not None and (split := rows[0].split) is not None:
            entry, slot = rows[0].layer, rows[0].slot
            if entry.diffusers is not None or split is not entry.splits[0]:
                return None
            found, ratios = (entry, rows[1]), split.ratios
        elif rows is not None and rows[0].renamed and rows[0].layer.diffusers is None:
            found = (rows[0].layer, rows[1])  # in a folder of its own, by the name that adapters use
        if found is None or found[0].bare:
            return None
        entry, number = found
        tensor = entry.weight if role == "weight" else entry.bias
        if tensor is None:
            return None
        kept = role == "weight" or entry.transform == "halves_swapped"
        transform = entry.transform if kept else "none"
        return Piece(self.prefix + fill(tensor, number), entry.part, transform, slot, ratios)


def denoiser_component(
    structure: Denoiser,
    spelling: Literal["original", "diffusers"],
    *,
    folder: str = "unet",
    bare: tuple[str, ...] = (),
    others: tuple[str, ...] = (),
    renamed: Mapping[str, str] | None = None,
    kohya: tuple[str, ...] = (),
) -> Component:
    """The U-Net or transformer of a single-file checkpoint.

    spelling: how sd-scripts writes its adapter names;  bare: how keys begin where the prefix is left out;
    others, renamed: see `Component`;  kohya: how else flat names of adapters may begin.
    """
    return Component(
        id="unet",
        label=structure.kind,
        root=DENOISER_PREFIX,
        prefix=DENOISER_PREFIX,
        folder=folder,
        layers=structure.layers,
        bare=bare,
        others=others,
        renamed=renamed or {},
        kohya=("lora_unet_", "lycoris_", "oft_unet_", *kohya),
        spelling=spelling,
        structure=structure,
    )
