"""An adapter of any kind and dialect, as far as names, shapes and alphas tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from loralathe.adapters.kinds import people_name
from loralathe.adapters.origin import own_family
from loralathe.adapters.scalars import read_scalar
from loralathe.errors import InputError
from loralathe.families import (
    AdapterDetected,
    Family,
    canonical_of_raw,
    detect_adapter,
    group_by_module,
    in_model_order,
    kind_of_module,
    label_of_module,
)
from loralathe.inspection.facts import AdapterFacts, BlockModules
from loralathe.tensorfiles import Header, TensorFile

RANKED = (
    "lora_down.weight", "lora_A.weight", "lora_A", "lora.down.weight", "lora_linear_layer.down.weight",
    "hada_w1_b", "lokr_w1_b", "lokr_w2_b",
)  # fmt: skip
"""Parts whose first axis is the rank, in every dialect."""

READABLE = frozenset({"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8"})
"""dtypes of alphas that are read without torch."""


def detect(header: Header) -> tuple[AdapterDetected, Family] | InputError:
    """Recognised with its family, or the error that says why not."""
    try:
        detected = detect_adapter(header)
    except InputError as error:
        return error
    return detected, own_family(header, detected)


def adapter_name(facts: AdapterFacts) -> str:
    """`LoRA`, `LoCon`, `LoHa and norm`: the kinds in the words of people, LoRA beside LoCon not named."""
    kinds = sorted((kind for kind in facts.kinds if kind != "unknown"), key=lambda kind: kind == "norm")
    names = list(dict.fromkeys(map(people_name, kinds)))
    if "LoCon" in names and "LoRA" in names:
        names.remove("LoRA")
    return " and ".join(names) or "adapter"


def adapter_facts(file: TensorFile, detected: AdapterDetected | None, family: Family | None) -> AdapterFacts:
    """Kinds, ranks, alphas and coverage; without a family only what names alone tell."""
    tensors = file.header.tensors
    raw = group_by_module(tensors.keys())
    kinds = {name: kind_of_module(parts, tensors) for name, parts in raw.parts.items()}
    ranks = {name: _rank(file.header, parts) for name, parts in raw.parts.items()}
    alphas = Counter(_alpha(file, parts) for parts in raw.parts.values())
    names: dict[str, str] = {}
    if family is not None:
        found = {name: canonical_of_raw(family, name) for name in raw.parts}
        names = {name: canonical for name, canonical in found.items() if canonical is not None}
    coverage = _coverage(names, ranks, family)
    covered = {entry.block for entry in coverage}
    return AdapterFacts(
        dialect=detected.dialect if detected else "unknown",
        kinds=dict(Counter(kinds.values()).most_common()),
        ranks=dict(Counter(ranks.values()).most_common()),
        alphas=dict(alphas.most_common()),
        components=dict(Counter(name.partition(".")[0] for name in names.values())),
        coverage=coverage,
        missing=tuple(name for name in _blocks(family) if name not in covered),
        unmatched=(
            *(name for name in raw.parts if family and name not in names),
            *raw.unrecognized_keys,
        ),
    )


def _blocks(family: Family | None) -> tuple[str, ...]:
    """The blocks that hold attention, which any LoRA could touch; text encoders are told by themselves."""
    return tuple(name for name in family.short_blocks if name != "BASE") if family else ()


def _coverage(
    names: Mapping[str, str], ranks: Mapping[str, int | None], family: Family | None
) -> tuple[BlockModules, ...]:
    if family is None:
        return ()
    held: dict[str, list[int | None]] = {}
    for raw_name, name in names.items():
        held.setdefault(label_of_module(family, name), []).append(ranks[raw_name])
    return tuple(
        BlockModules(block, len(held[block]), dict(sorted(Counter(r for r in held[block] if r).items())))
        for block in in_model_order(held, family)
    )


def _rank(header: Header, parts: Mapping[str, str]) -> int | None:
    """None for kinds without a rank: full differences, norms, full LoKr matrices, OFT."""
    for part in RANKED:
        if part in parts:
            shape = header.tensors[parts[part]].shape
            return shape[0] if shape else None
    return None


def _alpha(file: TensorFile, parts: Mapping[str, str]) -> float | None:
    info = file.header.tensors[parts["alpha"]] if "alpha" in parts else None
    if info is None or info.numel != 1 or info.dtype not in READABLE:
        return None
    return read_scalar(file, info)
