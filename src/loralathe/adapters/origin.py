"""Which family an adapter was made for, where several families use its names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from loralathe.adapters.detect import AdapterDetected
from loralathe.adapters.dialects import canonical_of_raw
from loralathe.adapters.keys import group_by_module
from loralathe.adapters.kinds import inputs_of, layered_parts
from loralathe.errors import InputError, few
from loralathe.families import Family
from loralathe.tensorfiles import Header

Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]
"""Canonical name → part → shape."""


def own_family(header: Header, detected: AdapterDetected) -> Family:
    """The family that an adapter was made for; where nothing tells, the oldest that is not seldom, of those
    whose last block it changes, if there are such.
    """
    told = told_family(header, detected)
    if told is not None:
        return told
    families = _filled(detected) or detected.families
    return next((family for family in families if not family.seldom), families[0])


def require_one_family(header: Header, detected: AdapterDetected, where: str) -> None:
    """Raises InputError where an adapter may be for several families that have other names for its layers."""
    if len(detected.families) == 1 or told_family(header, detected) is not None:
        return
    by_names: dict[tuple[str, ...], list[Family]] = {}
    for family in _filled(detected) or detected.families:
        by_names.setdefault(tuple(_kohya_names(family, detected).values()), []).append(family)
    if any(detected.names.keys() <= set(names) for names in by_names):
        return  # those that a trainer gives them
    written = _kohya_names(own_family(header, detected), detected)
    if all(_understands(family, written) for families in by_names.values() for family in families):
        return
    firsts = [families[0] for families in by_names.values()]
    some = few(list(detected.names), 2)
    raise InputError(
        f"this LoRA fits {few([family.label for family in firsts], 8)}: all of them have layers of these "
        "names and proportions, and nothing else in the file tells which it is for",
        where=f"{where}: {some}",
        fix="give it the names of one of them, that of your base: "
        f"lathe convert LORA --to kohya --family {firsts[0].id} ({', '.join(one.id for one in firsts)})",
    )


def _filled(detected: AdapterDetected) -> tuple[Family, ...]:
    """Those whose last block it changes, too."""
    return tuple(one for one in detected.families if one.denoiser.fills(_paths(one, detected)))


def _kohya_names(family: Family, detected: AdapterDetected) -> dict[str, str]:
    """Name in the file → what the trainer of this family calls the layer."""
    names = ((raw, canonical_of_raw(family, raw)) for raw in detected.names)
    return {raw: family.kohya_name(name) for raw, name in names if name is not None}


def _understands(family: Family, written: Mapping[str, str]) -> bool:
    """Whether names of another family's trainer mean the same layers in this one as those of the file."""
    pairs = written.items()
    return all(canonical_of_raw(family, raw) == canonical_of_raw(family, name) for raw, name in pairs)


def told_family(header: Header, detected: AdapterDetected) -> Family | None:
    """The family that an adapter was made for, as far as its header tells; None where it does not.

    SD 1 and SD 2 share all names, and a LoRA of few modules may fit SDXL too. The inputs of layers that read
    the text tell them apart, else the axes of layers that are convolutions in one and linear in the other,
    else the trainer's note, else that it goes to the last block of just one of them, else the trainer's word
    for SD 2.
    """
    candidates = detected.families
    if len(candidates) == 1:
        return candidates[0]
    raw = group_by_module(header.tensors.keys()).parts
    shapes: Shapes = {
        name: {part: header.tensors[key].shape for part, key in raw[raw_name].items()}
        for raw_name, name in detected.names.items()
    }
    for family in candidates:
        if any(inputs_of(found) == inputs for found, inputs in _evidence(shapes, family.evidence.columns)):
            return family
    axes = [
        {len(parts[part]) == wanted for parts, wanted in _evidence(shapes, family.evidence.axes)
         for part in layered_parts() if part in parts}
        for family in candidates
    ]  # fmt: skip
    fitting = [family for family, fits in zip(candidates, axes, strict=True) if fits == {True}]
    noted = [family for family in fitting or candidates if family.words.are_in(header.metadata)]
    if any(axes):
        return noted[0] if len(noted) == 1 else next(iter(fitting), None)
    v2 = {"True": True, "False": False}.get(header.metadata.get("ss_v2", ""))
    for told in (
        noted,
        _filled(detected),
        [family for family in candidates if family.words.v2 is v2][:1],
    ):
        if len(told) == 1:
            return told[0]
    return None


def _paths(family: Family, detected: AdapterDetected) -> list[str]:
    """The adapter's layers of the U-Net or transformer as this family calls them."""
    names = filter(None, (canonical_of_raw(family, raw) for raw in detected.names))
    return [name.removeprefix("unet.") for name in names if name.startswith("unet.")]


def _evidence(
    shapes: Shapes, by_end: Mapping[str, int]
) -> Iterator[tuple[Mapping[str, tuple[int, ...]], int]]:
    """Shapes of each module whose name has one of these ends, with the number for it."""
    for name, parts in shapes.items():
        for end, number in by_end.items():
            if name.endswith(end):
                yield parts, number
