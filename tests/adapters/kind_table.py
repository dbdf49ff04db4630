"""What works with each kind of adapter, found by running it: the table in docs/loras.md.

`python -m adapters.kind_table` prints it, with `src` and `tests` on the path. A new kind needs a sample here,
another column is a function from a sample to a cell, in `COLUMNS`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from adapters.changes import HeldWeight
from checkpoints import tiny_checkpoint, write_safetensors
from loralathe import MEMORY, convert_lora, in_memory, written_dialects
from loralathe.adapters import adapter_kinds, load_change, open_adapter
from loralathe.adapters.notes import CONFIG
from loralathe.engine import RunOptions, run_recipe
from loralathe.errors import InputError
from loralathe.families.sd1 import SD1
from loralathe.language import Save, make_recipe
from loralathe.rendering.loading.model import Place
from loralathe.rendering.runtime import LoadedAdapter
from loralathe.rendering.runtime.layers import update
from loralathe.tensorfiles import open_tensorfile

Tensors = dict[str, torch.Tensor]
LINEAR = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONV, NORM = "down_blocks.0.resnets.0.conv1", "down_blocks.0.resnets.0.norm1"
OUT, IN = 32, 32
LAYERS: dict[str, Callable[[], Any]] = {
    LINEAR: lambda: nn.Linear(IN, OUT),
    CONV: lambda: nn.Conv2d(IN, OUT, 3),
    NORM: lambda: nn.GroupNorm(4, OUT),
}
YES, NO, WITH_BASE = "✔", "–", "✔ from the base"


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
    "boft": (LINEAR, {"oft_blocks": some(1, 3, 8, 4, 4), "rescale": 1 + some(2, OUT, 1)}),
    "glora": (LINEAR, PAIRS | {"alpha": torch.tensor(1.0)}),
    "ia3": (LINEAR, {"weight": some(1, OUT), "on_input": torch.tensor(0)}),
}  # fmt: skip
OF_PEFT = {"peft_oft"}
SERIES = {"use_cayley_neumann": False, "num_cayley_neumann_terms": 5}
OFT_CONFIG = {"peft_type": "OFT", "coft": False, "eps": 0, **SERIES}


@dataclass(frozen=True)
class Sample:
    """A file of one kind in a folder of its own, beside a narrow model."""

    id: str
    path: Path
    base: Path

    @property
    def changes(self) -> bool:
        return adapter_kinds()[self.id].change is not None

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        with open_tensorfile(self.base) as file:
            return {key: file.read(key) for key in file.header.tensors}

    def run(self, formula: str, *inputs: str) -> Path:
        """The file that a formula makes of the model A and the adapter L."""
        out = self.path.with_name("out.safetensors")
        named = {"A": self.base, "L": self.path}
        recipe = make_recipe(
            inputs={name: named[name] for name in inputs}, steps={"out": formula}, saves=[Save("out", out)]
        )
        run_recipe(recipe, RunOptions(threads=1, force=True))
        return out


def kinds_read() -> list[str]:
    """Ids, in the order of the table."""
    kinds = [kind for kind in adapter_kinds().values() if kind.delta_shape is not None]
    return [kind.id for kind in sorted(kinds, key=lambda kind: kind.label)]


def model(folder: Path) -> Path:
    """A narrow model, but for the layers of the samples."""
    tensors = tiny_checkpoint("sd1", seed=1, dtype="F32", width_divisor=64)
    for seed, layer in enumerate(LAYERS):
        shape = LAYERS[layer]().weight.shape
        name = SD1.module_of_kohya(f"lora_unet_{layer.replace('.', '_')}")
        assert name is not None
        key = SD1.modules(tensors)[name].key
        tensors[key] = some(seed, *shape)
        if layer == NORM:
            tensors[key.replace("weight", "bias")] = some(9, *shape)
    return write_safetensors(folder / "A.safetensors", tensors)


def sample(kind: str, base: Path, folder: Path) -> Sample:
    """A file of a kind; KeyError for one that has no sample above."""
    layer, parts = SAMPLES[kind]
    start = f"base_model.model.{layer}" if kind in OF_PEFT else f"lora_unet_{layer.replace('.', '_')}"
    if kind in OF_PEFT:
        (folder / CONFIG).write_text(json.dumps(OFT_CONFIG))
    named = {f"{start}.{part}": tensor.clone() for part, tensor in parts.items()}
    return Sample(kind, write_safetensors(folder / "adapter_model.safetensors", named), base)


def changed_by(sample: Sample, path: Path) -> dict[str, torch.Tensor]:
    """Canonical name → what a file changes of the sample's model."""
    places = SD1.modules(sample.weights) | SD1.biases(sample.weights)
    found = {}
    with open_adapter(path, SD1, with_weights=True) as adapter:
        for name, module in adapter.modules.items():
            weight = HeldWeight(sample.weights[places[name].key].numpy(), 1 << 20)
            make = load_change(adapter, module, weight)
            found[name] = make(weight.rows(0, len(weight.array)), range(len(weight.array)))
    return found


def read(sample: Sample) -> str:
    """Merged at 0.5, it changes the layers that the file names by half of what it changes, and no others."""
    wanted = changed_by(sample, sample.path)
    places = SD1.modules(sample.weights) | SD1.biases(sample.weights)
    formula = f"A + {sample.id}(A, 0.5*L)" if sample.changes else "A + 0.5*L"
    with open_tensorfile(sample.run(formula, "A", "L")) as out:
        by_key = {places[name].key: change for name, change in wanted.items()}
        for key, before in sample.weights.items():
            change = 0.5 * by_key[key].reshape(before.shape) if key in by_key else torch.zeros(before.shape)
            torch.testing.assert_close(out.read(key).float(), before.float() + change)
    assert all(change.abs().max() > 0.01 for change in wanted.values())
    return YES


def written(sample: Sample) -> str:
    """The dialects that say it as it is: read again, it changes the same."""
    wanted, said = changed_by(sample, sample.path), []
    for dialect in written_dialects():
        try:
            made = convert_lora(sample.path, dialect, output=MEMORY)
        except InputError:
            continue
        again = changed_by(sample, in_memory(dict(made.tensors)))  # type: ignore[arg-type]
        assert again.keys() == wanted.keys()
        for name, change in wanted.items():
            torch.testing.assert_close(again[name], change, rtol=1e-5, atol=1e-6)
        said.append(dialect)
    return ", ".join(said) or NO


def combined(sample: Sample) -> str:
    return _lora_of(sample, "combine(L)", "L")


def extracted(sample: Sample) -> str:
    if not sample.changes:
        return _lora_of(sample, "extract(L, rank=32, conv_rank=32)", "L")
    made = _lora_of(sample, f"extract({sample.id}(A, L), rank=32, conv_rank=32)", "A", "L")
    return WITH_BASE if made == YES else made


def _lora_of(sample: Sample, formula: str, *inputs: str) -> str:
    """Whether a formula makes a LoRA of the same change; no where it is refused."""
    try:
        out = sample.run(formula, *inputs)
    except InputError:
        return NO
    wanted = changed_by(sample, sample.path)
    for name, change in changed_by(sample, out).items():
        torch.testing.assert_close(change, wanted[name], rtol=2e-3, atol=2e-3)  # an fp16 file
    return YES


def drawn(sample: Sample) -> str:
    """On a layer in memory: two rows of a batch, each with its strength."""
    layer = LAYERS[SAMPLES[sample.id][0]]()
    places = SD1.modules(sample.weights) | SD1.biases(sample.weights)
    wanted = changed_by(sample, sample.path)
    name = next(iter(wanted))
    layer.weight.data = sample.weights[places[name].key].float().reshape(layer.weight.shape)
    model: Any = SimpleNamespace(
        family=SD1, dtype=torch.float32, modules={name: Place(((layer, None),))}, encoders=()
    )
    adapter = LoadedAdapter(str(sample.path), model)
    x = some(7, 2, IN, *[5] * (layer.weight.dim() - 2 if layer.weight.dim() > 1 else 2))
    strengths = torch.tensor([0.5, -2.0])
    with torch.no_grad():
        before = layer(x)
        found = update(layer, adapter.factors(name, torch.device("cpu"))[0], x, strengths)
        for row, strength in enumerate(strengths):
            own = wanted[name].reshape(layer.weight.shape)
            layer.weight.data += strength * own
            torch.testing.assert_close(before[row] + found[row], layer(x)[row], rtol=1e-4, atol=1e-4)
            layer.weight.data -= strength * own
    adapter.close()
    return YES


COLUMNS: Mapping[str, Callable[[Sample], str]] = {
    "read, merged": read,
    "written as it is": written,
    "combined": combined,
    "extracted": extracted,
    "drawn": drawn,
}


def row(kind: str, base: Path, folder: Path) -> str:
    """Its line of the table, in Markdown."""
    found = sample(kind, base, folder)
    return line([adapter_kinds()[kind].label, *(cell(found) for cell in COLUMNS.values())])


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


HEAD = line(["kind", *COLUMNS])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        base = model(Path(name))
        print(HEAD, line(["---"] * (1 + len(COLUMNS))), sep="\n")
        for kind in kinds_read():
            (own := Path(name, kind)).mkdir()
            print(row(kind, base, own))


if __name__ == "__main__":
    main()
