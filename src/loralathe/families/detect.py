"""Which family a checkpoint belongs to, and why not when it belongs to none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from loralathe.errors import InputError, counted, few
from loralathe.families.family import FAMILIES, Family, supported_families
from loralathe.families.recognition import HeaderLike, TensorLike, refuse_quantised
from loralathe.families.unread import name_unread

_ADAPTER = re.compile(r"^(lora|lycoris|oft|boft)_|[._]lora[._]")
"""Names that tensors of adapters have, in every dialect, and those of checkpoints do not."""
_SHARD = re.compile(r"-\d{5}-of-(?P<count>\d{5})\.\w+$")
"""End of the name of a shard."""
_PREDICTION_METADATA = ("modelspec.prediction_type", "modelspec.predict_key")


@dataclass(frozen=True, slots=True)
class Detected:
    """What a checkpoint's header tells.

    layout:      'original': one file, keys as the model's authors named them
    variant:     'base', 'inpainting' or 'instruct-pix2pix', by the number of input channels; on Flux 'dev',
                 'schnell', 'fill' or 'depth or canny'
    components:  ids of the networks in the file, in the order of the family's components
    prediction:  'epsilon', 'v', 'edm-v', 'edm', 'flow'; None when the header cannot tell
    prediction_source: how that is known, as a phrase for people
    """

    family: Family
    layout: str
    variant: str
    in_channels: int
    components: tuple[str, ...]
    prediction: str | None
    prediction_source: str


def detect_checkpoint(header: HeaderLike, name: str | None = None) -> Detected:
    """Recognise a checkpoint from key names and tensor ranks; `name` is what errors call the file.

    Raises InputError for a LoRA, for a known kind of file that is not a supported checkpoint, for a
    U-Net or transformer with tensors missing, for quantised weights, and otherwise with the nearest family
    and what it lacks.
    """
    tensors = header.tensors
    fitting = [known for known in FAMILIES if known.signature.matches(tensors)]
    if not fitting:
        raise _one_shard(name) or _unrecognised(tensors, name)
    family, *others = fitting
    if others:
        raise _fits_two(family, others[0], tensors, name)
    kin = next((kind for kind in family.unread if kind.matches(tensors)), None)
    if kin is not None:
        raise _unread(kin.what, kin.fix, name)
    refuse_quantised(tensors, family.label, name)
    places = {family.component("unet").path(key): key for key in tensors}
    paths = {path: key for path, key in places.items() if path is not None}  # inside the denoiser → key
    _check_complete(family, paths, name)
    channels = tensors[paths[f"{family.denoiser.entry}.weight"]].shape[1]
    if channels not in family.denoiser.inputs:
        *most, last = [f"{number} ({variant})" for number, variant in family.denoiser.inputs.items()]
        raise InputError(
            f"this {family.label} model takes {channels} input channels",
            where=name,
            fix=f"known are {', '.join(most)} and {last}" if most else f"known is {last}",
        )
    prediction, source = _prediction(family, header)
    present = {family.component_of_key(key) for key in tensors if family.knows_key(key)}
    return Detected(
        family=family,
        layout="original",
        variant=family.denoiser.variant(channels, paths),
        in_channels=channels,
        components=tuple(component.id for component in family.components if component.id in present),
        prediction=prediction,
        prediction_source=source,
    )


def _check_complete(family: Family, paths: Mapping[str, str], name: str | None) -> None:
    path, key = next(iter(paths.items()))  # recognised, so there is one
    missing = [key.removesuffix(path) + lost for lost in family.denoiser.missing(paths.keys())]
    if missing:
        raise _one_shard(name) or InputError(
            f"this {family.label} checkpoint is incomplete: {counted(len(missing), 'tensor')} of its "
            f"{family.denoiser.kind} {'is' if len(missing) == 1 else 'are'} missing",
            where=_in_file(name, few(missing)),
            fix="get the file again, or the tool that wrote it dropped them",
        )


def _prediction(family: Family, header: HeaderLike) -> tuple[str | None, str]:
    """Marks first (loaders obey them), then what the writer noted, then the family's own way."""
    for mark, prediction in family.marks.items():
        if mark in header.tensors:
            return prediction, f"the file carries the mark {mark}"
    for key in _PREDICTION_METADATA:
        noted = header.metadata.get(key, "").casefold()
        if noted in ("epsilon", "v"):
            return noted, f"metadata {key}"
    if family.prediction is None:
        return None, "unknown from header: only the weights can tell"
    without = ", no v-prediction mark in the file" if family.marks else ""
    return family.prediction, f"{family.label} default{without}"


def _one_shard(name: str | None) -> InputError | None:
    """What to say of a file that is called as one of several shards are."""
    match = _SHARD.search(name or "")
    if match is None or int(match["count"]) < 2:
        return None
    return InputError(
        f"this is one of {int(match['count'])} shards of a model",
        where=name,
        fix="give the folder of the shards, or their index (….safetensors.index.json)",
    )


def _unrecognised(tensors: Mapping[str, TensorLike], name: str | None) -> InputError:
    if any(_ADAPTER.search(key) for key in tensors):
        return InputError(
            "this is a LoRA (an adapter), not a checkpoint",
            where=name,
            fix="give the base model here; a LoRA is added to it, as in 'base + 0.7*lora'",
        )
    if (known := name_unread(tensors)) is not None:
        return _unread(*known, name)
    nearest = max(
        FAMILIES, key=lambda family: (family.signature.share(tensors), -_complaints(family, tensors))
    )
    if not nearest.signature.share(tensors):
        some = few(list(tensors)) if tensors else "it has no tensors"
        return InputError(
            f"this file is not a checkpoint of {supported_families(last='or')}: it has none of their tensors",
            where=_in_file(name, some),
            fix="give a checkpoint in one .safetensors file",
        )
    reasons = few(list(nearest.signature.complaints(tensors)))
    return InputError(
        f"no known model family; the nearest is {nearest.label}",
        where=_in_file(name, reasons),
        fix="check that the file is complete and a base model, not a part of one",
    )


def _fits_two(one: Family, other: Family, tensors: Mapping[str, TensorLike], name: str | None) -> InputError:
    shown = [f"{next(family.signature.found(tensors))} ({family.label})" for family in (one, other)]
    return InputError(
        f"this file holds the tensors of two model families, {one.label} and {other.label}",
        where=_in_file(name, ", ".join(shown)),
        fix="two models were saved into one file; get each in a file of its own",
    )


def _unread(what: str, fix: str | None, name: str | None) -> InputError:
    return InputError(f"this is {what}, not a supported checkpoint", where=name, fix=fix)


def _complaints(family: Family, tensors: Mapping[str, TensorLike]) -> int:
    return sum(1 for _ in family.signature.complaints(tensors))


def _in_file(name: str | None, detail: str) -> str:
    return f"{name}: {detail}" if name else detail
