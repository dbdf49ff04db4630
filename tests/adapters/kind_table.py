"""What works with each kind of adapter and each family, found by running it: the tables in docs/loras.md.

`python -m adapters.kind_table` writes them there, with `src` and `tests` on the path. A new kind needs a
sample in `samples.py`; a new family, its list of tensors in `checkpoints.py`. Another column is a function
from a sample to a cell. A mark stands where the numbers are right, none where the program refuses in words;
all else is an error.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from adapters.samples import (
    CONV,
    IN,
    LINEAR,
    NORM,
    OF_PEFT,
    OUT,
    SAMPLES,
    Model,
    Sample,
    Tensors,
    changed_by,
    kinds_read,
    label,
    model,
    sample,
    some,
)
from checkpoints import MANIFEST_OF, is_shallow, manifest, shrink, write_safetensors
from loralathe import MEMORY, convert_lora, in_memory
from loralathe.adapters import delta, load_factors, open_adapter, rewriting
from loralathe.adapters.dialects import DIALECTS, WRAPPER, WRITTEN, Dialect
from loralathe.api.loras import require_known_modules
from loralathe.errors import InputError
from loralathe.families import DENOISER_PREFIX, FAMILIES, Family
from loralathe.families.sd1 import SD1
from loralathe.rendering.loading.model import Place
from loralathe.rendering.runtime import LoadedAdapter
from loralathe.rendering.runtime.layers import update
from loralathe.tensorfiles import open_tensorfile

DOCS = Path(__file__).resolve().parents[2] / "docs" / "loras.md"
CHINESE = DOCS.with_suffix(".zh-TW.md")
YES, NO, WITH_BASE = "✔", "–", "✔ from the base"
LAYERS: dict[str, Callable[[], Any]] = {
    LINEAR: lambda: nn.Linear(IN, OUT),
    CONV: lambda: nn.Conv2d(IN, OUT, 3),
    NORM: lambda: nn.GroupNorm(4, OUT),
}


def merged(given: Sample) -> str:
    """At 0.5, it changes the layers that the file names by half of what it changes, and no others."""
    formula = f"A + {given.id}(A, 0.5*L)" if given.changes else "A + 0.5*L"
    by_key = {given.model.keys[name]: change for name, change in given.wanted.items()}
    with open_tensorfile(given.run(formula, "A", "L")) as out:
        for key, before in given.model.weights.items():
            change = 0.5 * by_key[key].reshape(before.shape) if key in by_key else torch.zeros(before.shape)
            torch.testing.assert_close(out.read(key).float(), before.float() + change)
    assert all(change.abs().max() > 0.01 for change in given.wanted.values())
    return YES


def combined(given: Sample) -> str:
    return _lora_of(given, "combine(L)", "L")


def extracted(given: Sample) -> str:
    inputs = ("A", "L") if given.changes else ("L",)
    made = _lora_of(given, f"extract({given.changed}, rank={OUT}, conv_rank={OUT})", *inputs)
    return WITH_BASE if made == YES and given.changes else made


def _lora_of(given: Sample, formula: str, *inputs: str) -> str:
    """Whether a formula makes a LoRA of the same change; no where it is refused."""
    try:
        out = given.run(formula, *inputs)
    except InputError:
        return NO
    _check_same(given, changed_by(given.model, out), 2e-3)  # an fp16 file
    return YES


def _check_same(given: Sample, found: Tensors, close: float = 1e-6) -> None:
    assert found.keys() == given.wanted.keys()
    for name, change in given.wanted.items():
        torch.testing.assert_close(found[name], change, rtol=10 * close, atol=close)


def drawn(given: Sample) -> str:
    """On a layer in memory: two rows of a batch, each with its strength."""
    layer = LAYERS[SAMPLES[given.id][0]]()
    name = next(iter(given.wanted))
    layer.weight.data = given.model.weights[given.model.keys[name]].float().reshape(layer.weight.shape)
    opened: Any = SimpleNamespace(
        family=given.model.family, dtype=torch.float32, modules={name: Place(((layer, None),))}, encoders=()
    )
    adapter = LoadedAdapter(str(given.path), opened)
    x = some(7, 2, IN, *[5] * (layer.weight.dim() - 2 if layer.weight.dim() > 1 else 2))
    strengths = torch.tensor([0.5, -2.0])
    with torch.no_grad():
        before = layer(x)
        found = update(layer, adapter.factors(name, torch.device("cpu"))[0], x, strengths)
        for row, strength in enumerate(strengths):
            own = given.wanted[name].reshape(layer.weight.shape)
            layer.weight.data += strength * own
            torch.testing.assert_close(before[row] + found[row], layer(x)[row], rtol=1e-4, atol=1e-4)
            layer.weight.data -= strength * own
    adapter.close()
    return YES


def said(given: Sample, dialect: Dialect) -> str:
    """r: read under the names of a dialect, w: written so by convert. Each changes the same as it is."""
    return " ".join(["r"] * _is_read(given, dialect) + ["w"] * _is_written(given, dialect)) or NO


def _is_read(given: Sample, dialect: Dialect) -> bool:
    """Its parts behind the dialect's own name of the layer, those of a LoRA as the dialect calls them."""
    (name,) = given.wanted.keys() - {one for one in given.wanted if one.endswith(".bias")}
    component = given.model.family.component("unet")
    names = dialect.names(component, name.partition(".")[2])
    if not names:
        return False
    words = dialect.words_of(component)
    called = {"lora_up.weight": words.up, "lora_down.weight": words.down, "dora_scale": words.magnitude}
    parts = dict(SAMPLES[given.id][1])
    if called.keys() & parts.keys() and words.alpha is None and "alpha" in parts:
        parts["lora_up.weight"] = parts["lora_up.weight"] * parts.pop("alpha") / 2
    if any(called.get(part, part) is None for part in parts):
        return False
    start = WRAPPER if given.id in OF_PEFT and dialect.id == "peft" else ""  # its config is PEFT's alone
    file = {
        f"{start}{names[0][0]}.{called.get(part, part)}": tensor.clone() for part, tensor in parts.items()
    }
    folder = given.path.with_name(dialect.id)
    shutil.copytree(given.path.parent, folder)  # with PEFT's config
    try:
        found = changed_by(given.model, write_safetensors(folder / given.path.name, file))
    except InputError:
        return False
    _check_same(given, found)
    return True


def _is_written(given: Sample, dialect: Dialect) -> bool:
    if dialect.id not in WRITTEN:
        return False
    try:
        made = convert_lora(given.path, dialect.id, output=MEMORY)
    except InputError:
        return False
    _check_same(given, changed_by(given.model, in_memory(dict(made.tensors))))  # type: ignore[arg-type]
    return True


Column = Callable[[Sample], str]


def _in_dialect(dialect: Dialect) -> Column:
    return lambda given: said(given, dialect)


COLUMNS: Mapping[str, Column] = {
    "merged": merged,
    "combined": combined,
    "extracted": extracted,
    "drawn": drawn,
    **{dialect.id: _in_dialect(dialect) for dialect in DIALECTS if dialect.id != "xlabs"},
}
"""XLabs has names for Flux alone."""


def written(given: Sample) -> str:
    """As it is, for one other program at least."""
    return YES if any(_is_written(given, dialect) for dialect in WRITTEN.values()) else NO


MARKS: Mapping[str, Column] = {"r": merged, "w": written, "c": combined, "e": extracted}
"""Of a kind with a family."""


def kind_row(kind: str, of: Model, folder: Path) -> str:
    """A kind's line of the table of kinds, in Markdown."""
    found = sample(kind, of, folder)
    assert found is not None, f"no layer for {kind}"
    return line([label(kind), *(cell(found) for cell in COLUMNS.values())])


def family_row(family: Family, folder: Path) -> str:
    """A family's line of the table of families and kinds."""
    of = model(family, folder)
    cells = []
    for kind in kinds_read():
        (own := folder / kind).mkdir()
        found = sample(kind, of, own)
        marks = [mark for mark, cell in MARKS.items() if found and cell(found) != NO]
        cells.append(" ".join(marks) if found else "")
    return line([family.label, *cells])


def dialect_row(family: Family) -> str:
    """A family's line of the table of families and dialects: a LoRA of every matrix in its first blocks."""
    given = _lora_of_all(family)
    wanted = _deltas(given, family)
    return line([family.label, *(_spoken(given, wanted, family, dialect) for dialect in DIALECTS)])


def _lora_of_all(family: Family) -> Tensors:
    """By kohya's names, of the shapes of a narrow model."""
    specs = manifest(MANIFEST_OF[family.id])
    parts: Tensors = {}
    for seed, (key, spec) in enumerate(specs.items()):
        for module in family.modules_of_key(key):
            used = (
                module.component == "unet"
                and module.scope == "linear"
                and is_shallow(key.removeprefix(DENOISER_PREFIX))
            )
            if used and len(spec.shape) == 2:
                rows, columns = shrink(spec.shape, 64)
                raw = family.kohya_name(module.name)
                parts[f"{raw}.lora_up.weight"] = some(seed, rows, 2)
                parts[f"{raw}.lora_down.weight"] = some(seed + 1, 2, columns)
                parts[f"{raw}.alpha"] = torch.tensor(1.0)
    return parts


def _spoken(given: Tensors, wanted: Tensors, family: Family, dialect: Dialect) -> str:
    """r: its names mean the same layers, number by number;  w: convert writes them."""
    if dialect.id == "xlabs":
        return _of_xlabs(given, wanted, family)
    if dialect.id in WRITTEN:
        made = dict(convert_lora(given, dialect.id, output=MEMORY).tensors)
    else:
        with open_adapter(in_memory(given), family) as adapter:
            made = {tensor.name: tensor.tensor for tensor in rewriting(adapter, dialect).tensors()}
    found = _deltas(made, family)
    assert found.keys() == wanted.keys(), found.keys() ^ wanted.keys()
    assert all(torch.equal(found[name], change) for name, change in wanted.items())
    return "r w" if dialect.id in WRITTEN else "r"


XLABS = {
    "double_blocks.0.processor.qkv_lora1": "double_blocks.0.img_attn.qkv",
    "double_blocks.0.processor.proj_lora2": "double_blocks.0.txt_attn.proj",
    "single_blocks.0.processor.proj_lora": "single_blocks.0.linear2",
}


def _of_xlabs(given: Tensors, wanted: Tensors, family: Family) -> str:
    """Names of Flux's processors, which no other family has."""
    file = {}
    for name, path in XLABS.items():
        own = f"lora_unet_{path.replace('.', '_')}"
        if f"{own}.lora_up.weight" in given:
            file[f"{name}.up.weight"] = given[f"{own}.lora_up.weight"] / 2
            file[f"{name}.down.weight"] = given[f"{own}.lora_down.weight"].clone()
    try:
        found = _deltas(file, family)
    except InputError:
        return NO
    assert {name.removeprefix("unet.") for name in found} == set(XLABS.values())
    assert all(torch.equal(change, wanted[name]) for name, change in found.items())
    return "r"


def _deltas(tensors: Tensors, family: Family) -> Tensors:
    with open_adapter(in_memory(tensors), family) as adapter:
        require_known_modules(adapter, allow=False)
        return {
            name: delta(load_factors(adapter, module, torch.float64), module.shape)
            for name, module in adapter.modules.items()
        }


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


KINDS = line(["kind", *COLUMNS])
DIALECTS_OF = line(["a LoRA of", *(dialect.id for dialect in DIALECTS)])
FAMILIES_OF = line(["family", *map(label, kinds_read())])
"""First lines of the tables, by which they are found."""
WORDS = {
    "kind": "種類", "merged": "融合", "combined": "合成", "extracted": "提取", "drawn": "算圖",
    "✔ from the base": "✔ 從基底", "a LoRA of": "LoRA 的模型", "family": "系列",
    "full difference": "完整差異", "norm": "正規化層",
}  # fmt: skip


def in_chinese(row: str) -> str:
    """A line of a table with the words of the Chinese page."""
    return line([WORDS.get(cell, cell) for cell in row.removeprefix("| ").removesuffix(" |").split(" | ")])


def written_anew(text: str, head: str, rows: Sequence[str]) -> str:
    """The docs with other rows in a table."""
    lines = text.splitlines()
    start = lines.index(head) + 2
    return "\n".join([*lines[:start], *rows, *lines[start + len(rows_under(text, head)) :], ""])


def rows_under(text: str, head: str) -> list[str]:
    """Of the table with this first line; KeyError where there is none."""
    lines = text.splitlines()
    if head not in lines:
        raise KeyError(head)
    start = lines.index(head) + 2
    end = next((number for number in range(start, len(lines)) if lines[number][:1] != "|"), len(lines))
    return lines[start:end]


def main() -> None:
    text = DOCS.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        folders = (Path(name, str(number)) for number in itertools.count())

        def fresh() -> Path:
            (found := next(folders)).mkdir()
            return found

        base = model(SD1, fresh())
        rows = {
            KINDS: [kind_row(kind, base, fresh()) for kind in kinds_read()],
            DIALECTS_OF: [dialect_row(family) for family in FAMILIES],
            FAMILIES_OF: [family_row(family, fresh()) for family in FAMILIES],
        }
    chinese = CHINESE.read_text(encoding="utf-8")
    for head, found in rows.items():
        text = written_anew(text, head, found)
        chinese = written_anew(chinese, in_chinese(head), [in_chinese(row) for row in found])
    DOCS.write_text(text, encoding="utf-8")
    CHINESE.write_text(chinese, encoding="utf-8")


if __name__ == "__main__":
    main()
