"""Weights that are several tensors of a file: small codes, and scales that they are multiplied by.

`find_quantised` gives a file's header as it is read, fp32 weights in their true shapes, and for each of them
how its numbers are made. It knows no models: what a layer is called does not matter.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from loralathe.errors import InputError
from loralathe.tensorfiles.header import Header
from loralathe.tensorfiles.quantised.bitsandbytes import bitsandbytes_layers
from loralathe.tensorfiles.quantised.coding import Coding, ReadPart, decode_into
from loralathe.tensorfiles.quantised.comfy import METADATA, comfy_layers, marks_of
from loralathe.tensorfiles.quantised.found import Layer, Quantised

__all__ = ["Coding", "Quantised", "ReadPart", "decode_into", "find_quantised"]


def find_quantised(header: Header, read: ReadPart, where: str) -> Quantised | None:
    """What a file has of quantised weights, None when it has none.

    read: gives bytes of tensors as they are stored; only short texts are read here.
    Raises InputError for a scale that is missing or does not fit, two spellings at once, unknown formats.
    """
    layers = [*comfy_layers(header, read, where), *bitsandbytes_layers(header, read, where)]
    marks = marks_of(header)
    if not layers and not marks:
        return None
    made = {layer.info.name: layer for layer in layers if layer.info is not None}
    if len(made) < sum(layer.info is not None for layer in layers):
        raise InputError("a weight is quantised in two ways at once", where=where, fix="get the file again")
    parts = (*marks, *(name for layer in layers for name in layer.parts))
    unused = tuple(name for layer in layers for name in layer.unused)
    return Quantised(_as_read(header, made, {*parts, *unused}), _codings(made), parts, unused)


def _as_read(header: Header, made: dict[str, Layer], left_out: set[str]) -> Header:
    tensors = {
        name: (made[name].info or info) if name in made else info
        for name, info in header.tensors.items()
        if name not in left_out
    }
    # What it tells of layers is not true of a file that is made from this one.
    metadata = {key: text for key, text in header.metadata.items() if key != METADATA}
    return replace(header, tensors=MappingProxyType(tensors), metadata=MappingProxyType(metadata))


def _codings(made: dict[str, Layer]) -> dict[str, Coding]:
    return {name: layer.coding for name, layer in made.items() if layer.coding is not None}
