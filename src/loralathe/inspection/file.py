"""Look into any model file without torch and without reading its weights; plain data for people, programs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loralathe.adapters import (
    AdapterDetected,
    canonical_of_raw,
    detect_adapter,
    foreign_kind,
    group_by_module,
    home_of,
    is_usable,
    kind_of_module,
    label_of_kind,
    own_family,
    rank_of,
    read_labels,
    read_scalar,
    shows_adapter,
)
from loralathe.engine import Measured, plain_record, read_measured, recipe_hash
from loralathe.errors import InputError
from loralathe.families import (
    OTHER,
    Detected,
    Family,
    common_prefixes,
    component_name,
    detect_checkpoint,
    in_model_order,
    in_original_layout,
    label_of_module,
    network_of,
)
from loralathe.tensorfiles import Header, TensorFile, TensorInfo, open_tensorfile

READABLE = frozenset({"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8"})
"""dtypes of alphas that are read without torch."""


@dataclass(frozen=True, slots=True)
class Part:
    """A group of tensors: a component, a block, or a common beginning of keys."""

    name: str
    tensors: int
    parameters: int
    nbytes: int
    dtypes: Mapping[str, int] = field(hash=False)
    """dtype, or kind of quantised weights, → parameters, commonest first."""


@dataclass(frozen=True)
class CheckpointFacts:
    """A recognised checkpoint.

    variant, prediction: as `Detected`;  blocks: names of the short and the long block list.
    kept_by_rule: tensors that are never averaged, by the rule's name.
    """

    variant: str
    in_channels: int
    prediction: str | None
    prediction_source: str
    short_blocks: tuple[str, ...]
    long_blocks: tuple[str, ...]
    kept_by_rule: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class BlockModules:
    """Modules of an adapter in one block. ranks: rank → modules."""

    block: str
    modules: int
    ranks: Mapping[int, int] = field(hash=False)


@dataclass(frozen=True)
class AdapterFacts:
    """A recognised adapter.

    kinds, ranks, alphas, components: value → number of modules; modules without a rank or an alpha
    are under None.  missing: blocks of the long list that hold no module.
    unmatched: raw names of modules that the family does not have, and keys that belong to no module.
    embeddings: words for prompts that are bundled in.
    """

    dialect: str
    kinds: Mapping[str, int]
    ranks: Mapping[int | None, int]
    alphas: Mapping[float | None, int]
    components: Mapping[str, int]
    coverage: tuple[BlockModules, ...]
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]
    embeddings: tuple[str, ...] = ()

    @property
    def modules(self) -> int:
        return sum(self.kinds.values())


@dataclass(frozen=True)
class Inspection:
    """One file, from its header (and an adapter's alphas) alone.

    kind:   'checkpoint', 'adapter' or 'other';  what: the same in words for people.
    family: id of the model family, None when it is not a supported one.
    layout: 'original', an adapter's dialect, or None.
    note:   why the file cannot be worked on, where it cannot.
    parts:  components of a checkpoint or adapter, else groups of keys.
    record: how loralathe made it, None when it did not.
    measured: what pictures told, None when it holds nothing of that;  measured_here: whether that is of the
            recipe in the record, and not of another one.
    format: 'safetensors', 'gguf' or 'pickle';  left_out: what is in it beside the model and is not read.
    files:  that it is read from, where it is a folder or lies in shards.
    scales: tensors that are read with the quantised weights that they belong to, and are not in `tensors`;
    unused: names of scales that no weight needs, nor are they.
    """

    path: Path
    kind: str
    what: str
    family: str | None
    layout: str | None
    note: str | None
    size: int
    tensors: int
    parameters: int
    dtypes: Mapping[str, int]
    parts: tuple[Part, ...]
    metadata: Mapping[str, str]
    record: Mapping[str, object] | None
    checkpoint: CheckpointFacts | None = None
    adapter: AdapterFacts | None = None
    format: str = "safetensors"
    left_out: tuple[str, ...] = ()
    scales: int = 0
    unused: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    measured: Measured | None = None
    measured_here: bool = False


def inspect_file(path: str | os.PathLike[str]) -> Inspection:
    """What the file is and holds. Any valid model file will do; one of unknown kind gets a summary.

    Raises InputError only for what is no safetensors file, no GGUF file and not torch.save's.
    """
    with open_tensorfile(path) as file:
        seen = _adapter(file) if shows_adapter(file.header.tensors) else _checkpoint(file)
        return _inspection(file, seen)


@dataclass(frozen=True)
class _Seen:
    """What recognition found; `group` names the part that a key belongs to, None: by its beginning."""

    kind: str
    what: str
    note: str | None = None
    family: Family | None = None
    layout: str | None = None
    group: Callable[[str], str] | None = None
    checkpoint: CheckpointFacts | None = None
    adapter: AdapterFacts | None = None
    left_out: tuple[str, ...] = ()


def _inspection(file: TensorFile, seen: _Seen) -> Inspection:
    header = file.header
    infos = header.tensors.values()
    record, measured = plain_record(header.metadata), read_measured(header.metadata)
    return Inspection(
        path=Path(file.path),
        kind=seen.kind,
        what=seen.what,
        family=seen.family.id if seen.family else None,
        layout=seen.layout,
        note=seen.note,
        size=header.file_size,
        tensors=len(header.tensors),
        parameters=sum(info.numel for info in infos),
        dtypes=_dtypes(infos),
        parts=_parts(header, seen.group, seen.family),
        metadata=header.metadata,
        record=record,
        checkpoint=seen.checkpoint,
        adapter=seen.adapter,
        format=file.format,
        left_out=seen.left_out or file.left_out,
        scales=len(file.scales),
        unused=file.unused,
        files=_names(file),
        measured=measured,
        measured_here=measured is not None and recipe_hash(record or {}) == measured.of,
    )


def _names(file: TensorFile) -> tuple[str, ...]:
    """What a model of several files, or in a folder, is read from."""
    if file.files in ((), (file.path,)):
        return ()
    folder = file.path if file.path.is_dir() else file.path.parent
    return tuple(one.relative_to(folder).as_posix() for one in file.files)


def _checkpoint(file: TensorFile) -> _Seen:
    view = in_original_layout(file)
    header = view.header
    try:
        detected = detect_checkpoint(header)
    except InputError as error:
        if not header.tensors:
            return _Seen("other", "a file without tensors", "there is nothing to work on")
        return _Seen("other", _what_of(error), error.fix)
    family = detected.family

    def network(key: str) -> str:
        own = family.component_of_key(key) if view is file else network_of(family, key)
        return component_name(own, family)

    return _Seen(
        kind="checkpoint",
        what=f"{family.label} checkpoint" + _variant(detected),
        family=family,
        layout=detected.layout if view is file else "diffusers",
        group=network,
        checkpoint=_checkpoint_facts(detected, header),
        left_out=view.left_out,
    )


def _variant(detected: Detected) -> str:
    """`, inpainting (9 channels)`, `, dev`: what the file is beside the usual one of its family."""
    usual = next(iter(detected.family.denoiser.inputs))
    variant = "" if detected.variant == "base" else f", {detected.variant}"
    return variant if detected.in_channels == usual else f"{variant} ({detected.in_channels} channels)"


def _checkpoint_facts(detected: Detected, header: Header) -> CheckpointFacts:
    family = detected.family
    rules = Counter(rule for key in header.tensors if (rule := family.rule_for_key(key)))
    return CheckpointFacts(
        variant=detected.variant,
        in_channels=detected.in_channels,
        prediction=detected.prediction,
        prediction_source=detected.prediction_source,
        short_blocks=family.short_blocks,
        long_blocks=family.long_blocks,
        kept_by_rule=dict(rules.most_common()),
    )


def _only_looked_at() -> str:
    return f"can only be inspected: other commands read {', '.join(read_labels())}"


def _adapter(file: TensorFile) -> _Seen:
    found = detect(file)
    if isinstance(found, InputError):
        facts = adapter_facts(file, None, None)
        foreign = foreign_kind(file.header.tensors)
        if foreign:
            return _Seen("adapter", f"{foreign} (PEFT)", found.fix, group=_first_words, adapter=facts)
        what = f"{adapter_name(facts)} for {_what_of(found).partition(' for ')[2] or 'no known family'}"
        return _Seen("adapter", what, found.fix, group=_first_words, adapter=facts)
    detected, family = found
    facts = adapter_facts(file, detected, family)
    names = detected.names
    return _Seen(
        kind="adapter",
        what=f"{adapter_name(facts)} for {family.label}",
        note=None if is_usable(detected) else _only_looked_at(),
        family=family,
        layout=detected.dialect,
        group=lambda key: _component_of(key, names, family),
        adapter=facts,
    )


def _component_of(key: str, names: Mapping[str, str], family: Family) -> str:
    """Component of an adapter's tensor: raw module names end at one of the key's dots."""
    end = len(key)
    while (end := key.rfind(".", 0, end)) > 0:
        name = names.get(key[:end])
        if name is not None:
            return component_name(name.partition(".")[0], family)
    return OTHER


def _first_words(key: str) -> str:
    """`lora_unet` of kohya's flat names, else the first part of a dotted one."""
    return "_".join(key.split(".", maxsplit=1)[0].split("_")[:2])


def _what_of(error: InputError) -> str:
    """`this is an SDXL refiner checkpoint, not a supported checkpoint` → `an SDXL refiner checkpoint`."""
    text = error.what.removesuffix(", not a supported checkpoint").removesuffix(".")
    return text.removeprefix("this is ")


def _parts(header: Header, group: Callable[[str], str] | None, family: Family | None) -> tuple[Part, ...]:
    if group is None:
        group = common_prefixes(header.tensors).__getitem__
    grouped: dict[str, list[TensorInfo]] = {}
    for key, info in header.tensors.items():
        grouped.setdefault(group(key), []).append(info)
    return tuple(_part(name, grouped[name]) for name in _in_order(grouped, family))


def _in_order(names: Iterable[str], family: Family | None) -> list[str]:
    """Networks first, in the family's order."""
    networks = [component.label for component in family.components] if family else []
    return sorted(
        names, key=lambda name: (name not in networks, networks.index(name) if name in networks else 0, name)
    )


def _part(name: str, infos: list[TensorInfo]) -> Part:
    parameters = sum(info.numel for info in infos)
    return Part(name, len(infos), parameters, sum(info.bytes_in_file for info in infos), _dtypes(infos))


def _dtypes(infos: Iterable[TensorInfo]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for info in infos:
        counts[info.stored.kind if info.stored else info.dtype] += info.numel
    return dict(counts.most_common())


def detect(file: TensorFile) -> tuple[AdapterDetected, Family] | InputError:
    """Recognised with its family, or the error that says why not."""
    try:
        detected = detect_adapter(file.header, str(file.path))
    except InputError as error:
        return error
    return detected, own_family(file.header, detected)


def adapter_name(facts: AdapterFacts) -> str:
    """`LoRA`, `LoCon`, `LoHa and norm`: the kinds in the words of people, LoRA beside LoCon not named."""
    kinds = sorted((kind for kind in facts.kinds if kind != "unknown"), key=lambda kind: kind == "norm")
    names = list(dict.fromkeys(map(label_of_kind, kinds)))
    if "LoCon" in names and "LoRA" in names:
        names.remove("LoRA")
    return " and ".join(names) or "adapter"


def adapter_facts(file: TensorFile, detected: AdapterDetected | None, family: Family | None) -> AdapterFacts:
    """Kinds, ranks, alphas and coverage; without a family only what names alone tell."""
    tensors = file.header.tensors
    raw = group_by_module(tensors.keys())
    kinds = {name: kind_of_module(parts, tensors) for name, parts in raw.parts.items()}
    shapes = {
        name: {part: tensors[key].shape for part, key in parts.items()} for name, parts in raw.parts.items()
    }
    ranks = {name: rank_of(found) for name, found in shapes.items()}
    alphas = Counter(_alpha(file, parts) for parts in raw.parts.values())
    names: dict[str, str] = {}
    if family is not None:
        home = home_of(file.path)
        found = {name: canonical_of_raw(family, name, home) for name in raw.parts}
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
        embeddings=tuple(raw.embeddings),
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


def _alpha(file: TensorFile, parts: Mapping[str, str]) -> float | None:
    info = file.header.tensors[parts["alpha"]] if "alpha" in parts else None
    if info is None or info.numel != 1 or info.dtype not in READABLE:
        return None
    return read_scalar(file, info)
