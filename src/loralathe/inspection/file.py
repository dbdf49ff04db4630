"""Look into any model file without torch and without reading its weights."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loralathe.adapters.kinds import is_usable
from loralathe.engine.record import read_record
from loralathe.errors import InputError
from loralathe.families import (
    OTHER,
    Detected,
    Family,
    common_prefixes,
    component_name,
    detect_checkpoint,
    shows_adapter,
)
from loralathe.inspection.adapter import adapter_facts, adapter_name, detect
from loralathe.inspection.facts import (
    AdapterFacts,
    CheckpointFacts,
    Inspection,
    Part,
)
from loralathe.tensorfiles import Header, TensorFile, TensorInfo, open_tensorfile

ONLY_LOOKED_AT = (
    "can only be inspected: it changes with the base's own weights, so it is no difference by itself; other "
    "commands read LoRA, LoCon, LoHa, LoKr, DoRA and full differences"
)


def inspect_file(path: str | os.PathLike[str]) -> Inspection:
    """What the file is and holds. Any valid model file will do; one of unknown kind gets a summary.

    Raises InputError only for what is neither a safetensors file nor torch.save's.
    """
    with open_tensorfile(path) as file:
        seen = _adapter(file) if shows_adapter(file.header.tensors) else _checkpoint(file.header)
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


def _inspection(file: TensorFile, seen: _Seen) -> Inspection:
    header = file.header
    infos = header.tensors.values()
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
        record=read_record(header.metadata),
        checkpoint=seen.checkpoint,
        adapter=seen.adapter,
        format=file.format,
        left_out=file.left_out,
    )


def _checkpoint(header: Header) -> _Seen:
    try:
        detected = detect_checkpoint(header)
    except InputError as error:
        if not header.tensors:
            return _Seen("other", "a file without tensors", "there is nothing to work on")
        return _Seen("other", _what_of(error), error.fix)
    family = detected.family
    return _Seen(
        kind="checkpoint",
        what=f"{family.label} checkpoint" + _variant(detected),
        family=family,
        layout=detected.layout,
        group=lambda key: component_name(family.component_of_key(key), family),
        checkpoint=_checkpoint_facts(detected, header),
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


def _adapter(file: TensorFile) -> _Seen:
    found = detect(file.header)
    if isinstance(found, InputError):
        facts = adapter_facts(file, None, None)
        what = f"{adapter_name(facts)} for {_what_of(found).partition(' for ')[2] or 'no known family'}"
        return _Seen("adapter", what, found.fix, group=_first_words, adapter=facts)
    detected, family = found
    facts = adapter_facts(file, detected, family)
    names = detected.names
    return _Seen(
        kind="adapter",
        what=f"{adapter_name(facts)} for {family.label}",
        note=None if is_usable(detected) else ONLY_LOOKED_AT,
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
    return Part(name, len(infos), parameters, sum(info.nbytes for info in infos), _dtypes(infos))


def _dtypes(infos: Iterable[TensorInfo]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for info in infos:
        counts[info.dtype] += info.numel
    return dict(counts.most_common())
