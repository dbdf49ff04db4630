"""A file of every kind of adapter for every family, beside a very small model: what tables run on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from adapters.changes import HeldWeight
from checkpoints import MANIFEST_OF, Spec, manifest, write_safetensors
from loralathe.adapters import adapter_kinds, load_change, open_adapter
from loralathe.adapters.notes import CONFIG
from loralathe.engine import RunOptions, run_recipe
from loralathe.families import DENOISER_PREFIX, AdapterNotes, Family, adapter_metadata
from loralathe.language import Save, make_recipe
from loralathe.tensorfiles import open_tensorfile

Tensors = dict[str, torch.Tensor]
OUT, IN = 32, 32
LINEAR, CONV, NORM = "linear", "conv", "norm"
SHAPES = {LINEAR: (OUT, IN), CONV: (OUT, IN, 3, 3), NORM: (OUT,)}
LEAST = 2
"""Rows and columns of the layers that no sample changes."""


def some(seed: int, *shape: int) -> torch.Tensor:
    return 0.2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


LORA = {"lora_up.weight": some(1, OUT, 2), "lora_down.weight": some(2, 2, IN), "alpha": torch.tensor(1.0)}
PAIRS = {f"{side}.weight": some(seed, *shape) for seed, (side, shape) in enumerate(
    {"a1": (IN, 2), "a2": (2, IN), "b1": (OUT, 2), "b2": (2, IN)}.items())}  # fmt: skip
HADAMARD = {f"hada_w{i}_{side}": some(i, *shape) for i in (1, 2)
            for side, shape in (("a", (OUT, 2)), ("b", (2, IN)))}  # fmt: skip
SAMPLES: dict[str, tuple[str, Tensors]] = {
    # id of a kind → a layer, and tensors of it
    "lora": (LINEAR, LORA),
    "locon": (CONV, {"lora_up.weight": some(1, OUT, 2, 1, 1), "lora_down.weight": some(2, 2, IN, 3, 3)}),
    "loha": (LINEAR, HADAMARD),
    "lokr": (LINEAR, {"lokr_w1": some(1, 4, 4), "lokr_w2": some(2, 8, 8)}),
    "full": (LINEAR, {"diff": some(1, OUT, IN)}),
    "norm": (NORM, {"w_norm": some(1, OUT), "b_norm": some(2, OUT)}),
    "dora": (LINEAR, LORA | {"dora_scale": 1 + some(3, OUT, 1)}),
    "oft": (LINEAR, {"oft_blocks": some(1, 8, 4, 4), "alpha": torch.tensor(0.0)}),
    "peft_oft": (LINEAR, {"oft_R.weight": some(1, 8, 6)}),
    "peft_boft": (LINEAR, {"boft_R": some(1, 2, 8, 4, 4), "boft_s": 1 + some(2, OUT, 1)}),
    "boft": (LINEAR, {"oft_blocks": some(1, 3, 8, 4, 4), "rescale": 1 + some(2, OUT, 1)}),
    "glora": (LINEAR, PAIRS | {"alpha": torch.tensor(1.0)}),
    "ia3": (LINEAR, {"weight": some(1, OUT), "on_input": torch.tensor(0)}),
}  # fmt: skip
OF_PEFT = {"peft_oft"}
"""Their config says how they are meant."""
SERIES = {"use_cayley_neumann": False, "num_cayley_neumann_terms": 5}
OFT_CONFIG = {"peft_type": "OFT", "coft": False, "eps": 0, **SERIES}


def kinds_read() -> list[str]:
    """Ids, by their names for people."""
    kinds = [kind for kind in adapter_kinds().values() if kind.delta_shape is not None]
    return [kind.id for kind in sorted(kinds, key=lambda kind: kind.label)]


def label(kind: str) -> str:
    return adapter_kinds()[kind].label


@dataclass(frozen=True)
class Model:
    """A complete model of a family, as small as can be, but for the layers that samples change.

    layers: sort of layer → canonical name of the one that samples of that sort change
    """

    family: Family
    path: Path
    layers: Mapping[str, str]

    @cached_property
    def weights(self) -> Tensors:
        with open_tensorfile(self.path) as file:
            return {key: file.read(key) for key in file.header.tensors}

    @cached_property
    def keys(self) -> dict[str, str]:
        """Canonical name → key, of layers and of biases."""
        places = self.family.modules(self.weights) | self.family.biases(self.weights)
        return {name: place.key for name, place in places.items()}

    def raw(self, sort: str, start: str = "lora_unet_") -> str:
        """How kohya names the layer, or PEFT on the model that it wraps."""
        component, _, path = self.layers[sort].partition(".")
        if start == "lora_unet_":
            return self.family.kohya_name(self.layers[sort])
        ((name, _),) = self.family.component(component).paths_of(path, "diffusers")
        return start + name


@dataclass(frozen=True)
class Sample:
    """A file of one kind in a folder of its own, for a model."""

    id: str
    path: Path
    model: Model

    @property
    def changes(self) -> bool:
        """Whether what it does depends on the weights."""
        return adapter_kinds()[self.id].change is not None

    @property
    def changed(self) -> str:
        """The change of the model A at strength 1, as a formula."""
        return f"{self.id}(A, L)" if self.changes else "L"

    def run(self, formula: str, *inputs: str) -> Path:
        """The file that a formula makes of the model A and the adapter L."""
        out = self.path.with_name("out.safetensors")
        named = {"A": self.model.path, "L": self.path}
        recipe = make_recipe(
            inputs={name: named[name] for name in inputs}, steps={"out": formula}, saves=[Save("out", out)]
        )
        run_recipe(recipe, RunOptions(threads=1, force=True))
        return out

    @cached_property
    def wanted(self) -> Tensors:
        return changed_by(self.model, self.path)


def model(family: Family, folder: Path) -> Model:
    """Tensors of the U-Net or transformer by the family's manifest."""
    specs = dict(_keys(family))
    bare = {key.removeprefix(DENOISER_PREFIX): key for key in specs}
    layers = _layers(family, specs)
    keys = {family.module(name).key: sort for sort, name in layers.items()}
    biases = {tensor.replace("weight", "bias"): sort for tensor, sort in keys.items()}
    entry = family.entry_key.removeprefix(DENOISER_PREFIX)
    tensors: Tensors = {}
    for seed, (key, spec) in enumerate(specs.items()):
        shape = tuple(min(size, LEAST) if axis < 2 else size for axis, size in enumerate(spec.shape))
        if key == bare.get(entry):
            shape = (shape[0], *spec.shape[1:])
        full = family.modern_key(key)
        if full in keys:
            shape = SHAPES[keys[full]]
        elif full in biases:
            shape = (OUT,)
        tensors[key] = some(seed, *shape)
    path = write_safetensors(folder / f"{family.id}.safetensors", tensors)
    return Model(family, path, layers)


def _keys(family: Family) -> Iterator[tuple[str, Spec]]:
    own = {
        key: spec
        for key, spec in manifest(MANIFEST_OF[family.id]).items()
        if family.component_of_key(key) == "unet" or family.rule_for_key(key) is None
    }
    for key, spec in own.items():
        if family.component_of_key(key) != "unet":
            continue
        yield key, spec
        if key.startswith("blocks.0."):  # of Anima: deeper ones have the same again
            number = 28
            while family.denoiser.block_of_path(f"blocks.{number}.x") is not None:
                yield key.replace("blocks.0.", f"blocks.{number}."), spec
                number += 1


def _layers(family: Family, specs: Mapping[str, Spec]) -> dict[str, str]:
    """The first square matrix that trainers change, and if there are such, a convolution and a norm."""
    found: dict[str, str] = {}
    for name, module in family.modules(specs).items():
        shape = specs[
            next(key for key in (module.key, module.key.removeprefix(DENOISER_PREFIX)) if key in specs)
        ].shape
        square = len(shape) > 1 and shape[0] == shape[1] and module.part is None
        whole = family.component("unet").paths_of(name.partition(".")[2], "diffusers")
        if square and len(whole) == 1 and module.block and shape[2:] == () and module.scope == "linear":
            found.setdefault(LINEAR, name)
        if square and module.block and shape[2:] == (3, 3) and module.scope == "conv":
            found.setdefault(CONV, name)
        if len(shape) == 1 and module.block and module.scope == "vector":
            found.setdefault(NORM, name)
    return found


def sample(kind: str, of: Model, folder: Path) -> Sample | None:
    """A file of a kind; None where the family has no such layer; KeyError for one without a sample above."""
    sort, parts = SAMPLES[kind]
    if sort not in of.layers:
        return None
    start = of.raw(sort, "base_model.model." if kind in OF_PEFT else "lora_unet_")
    if kind in OF_PEFT:
        (folder / CONFIG).write_text(json.dumps(OFT_CONFIG))
    has_bias = f"{of.layers[sort]}.bias" in of.keys
    named = {
        f"{start}.{part}": tensor.clone() for part, tensor in parts.items() if part != "b_norm" or has_bias
    }
    notes = adapter_metadata(of.family.words, AdapterNotes(2, 1.0))
    return Sample(kind, write_safetensors(folder / "adapter_model.safetensors", named, notes), of)


def changed_by(of: Model, path: Path) -> Tensors:
    """Canonical name → what a file changes of the model."""
    found = {}
    with open_adapter(path, of.family, with_weights=True) as adapter:
        assert adapter.unmatched == ()
        for name, module in adapter.modules.items():
            weight = HeldWeight(of.weights[of.keys[name]].numpy(), 1 << 20)
            make = load_change(adapter, module, weight)
            found[name] = make(weight.rows(0, len(weight.array)), range(len(weight.array)))
    return found
