"""Quantised layers as ComfyUI and trainers of its field store them: `<layer>.weight` beside its scales.

Three spellings say which layers, and how:

* `<layer>.comfy_quant`: JSON as a uint8 tensor, `{"format": …}`; the scale is `<layer>.weight_scale`;
* the same JSON by layer in the file's metadata, under `_quantization_metadata`;
* older files: `<layer>.scale_weight` in files with the mark `scaled_fp8`. The dtype of the weight is the
  format.

`input_scale` and `scale_input` are for activations: a weight does not depend on them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from loralathe.errors import InputError
from loralathe.tensorfiles.header import Header, Stored, TensorInfo
from loralathe.tensorfiles.quantised.coding import (
    NUMBERS,
    Coding,
    ReadPart,
    ScaledCodes,
    Scales,
    StoredScales,
    TiledScales,
    read_numbers,
)
from loralathe.tensorfiles.quantised.found import Layer
from loralathe.tensorfiles.quantised.tables import float_rounding, table

MARK = "scaled_fp8"
CONFIG, OLD_SCALE, NEW_SCALE, SECOND_SCALE = "comfy_quant", "scale_weight", "weight_scale", "weight_scale_2"
SMOOTHING = "pre_quant_scale"
INPUTS = ("scale_input", "input_scale")
METADATA = "_quantization_metadata"
_WORDS = frozenset({CONFIG, OLD_SCALE, NEW_SCALE, SECOND_SCALE, SMOOTHING, *INPUTS})
_LONGEST_CONFIG = 1 << 16
"""Bytes; what ComfyUI writes has a hundred."""
_LARGEST_GROUP = 4096
_SOME = 4096
"""Scales of which the rounding of int8 weights is told."""
_GET_ANOTHER = "take the bf16 or fp16 file, a scaled fp8 one, or a GGUF file"
_DAMAGED = "get the file again, or the program that wrote it left something out"


@dataclass
class _Marks:
    """What stands beside one layer: word → the tensor's whole name. config: what was said of its format."""

    there: dict[str, str] = field(default_factory=dict)
    config: Mapping[str, object] | None = None


def comfy_layers(header: Header, read: ReadPart, where: str) -> Iterator[Layer]:
    """Every quantised layer of a file; InputError for scales that are missing or do not fit."""
    marks: dict[str, _Marks] = {}
    for name in header.tensors:
        layer, _, word = name.rpartition(".")
        if word in _WORDS:
            marks.setdefault(layer, _Marks()).there[word] = name
    for layer, config in _told_by_metadata(header, where).items():
        marks.setdefault(layer, _Marks()).config = config
    for layer, found in marks.items():
        yield from _Reader(header, read, where, layer, found).layer()


def marks_of(header: Header) -> tuple[str, ...]:
    """Tensors that only say that the file is scaled fp8."""
    return tuple(name for name in header.tensors if name.rpartition(".")[2] == MARK)


def _told_by_metadata(header: Header, where: str) -> dict[str, Mapping[str, object]]:
    """Layers named in the metadata, under the names that they have in the file, which may have a prefix."""
    if METADATA not in header.metadata:
        return {}
    layers = _json(header.metadata[METADATA], f"{where}, metadata '{METADATA}'").get("layers", {})
    if not isinstance(layers, dict):
        raise InputError(
            "the description of its quantised layers is not a JSON object",
            where=f"{where}, metadata '{METADATA}'",
            fix=_DAMAGED,
        )
    lacking = {layer for layer in layers if f"{layer}.weight" not in header.tensors}
    longer: dict[str, str] = {}
    if lacking:
        for name in header.tensors:
            path = name.removesuffix(".weight")
            while path != name and (path := path.partition(".")[2]):
                if path in lacking:
                    longer[path] = name.removesuffix(".weight")
    return {str(longer.get(layer, layer)): _table(config) for layer, config in layers.items()}


def _table(config: object) -> Mapping[str, object]:
    return config if isinstance(config, dict) else {"format": config}


def _json(text: str | bytes, where: str) -> Mapping[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            "the description of its quantised layers is not JSON", where=where, fix=_DAMAGED
        ) from error
    if not isinstance(found, dict):
        raise InputError(
            "the description of its quantised layers is not a JSON object", where=where, fix=_DAMAGED
        )
    return found


class _Reader:
    """One layer: which format it has, and whether all that it needs is there."""

    def __init__(self, header: Header, read: ReadPart, where: str, layer: str, marks: _Marks) -> None:
        self.tensors = header.tensors
        self.read = read
        self.where = where
        self.name = f"{layer}.weight" if layer else "weight"
        self.there = marks.there
        self.told = marks.config

    def layer(self) -> Iterator[Layer]:
        unused = tuple(self.there[word] for word in INPUTS if word in self.there)
        config = self._config()
        if config is None and not self.there.keys() - set(INPUTS):
            yield Layer(None, None, (), unused)  # a plain weight with a scale for its inputs
            return
        weight = self.tensors.get(self.name)
        if weight is None:
            first = next(iter(self.there.values()), self.name)
            raise InputError(
                f"'{first}' is for a weight that the file does not have",
                where=f"{self.where}, tensor '{self.name}'",
                fix=_DAMAGED,
            )
        if OLD_SCALE in self.there and (config is not None or NEW_SCALE in self.there):
            other = self.there.get(NEW_SCALE) or self.there.get(CONFIG) or f"metadata '{METADATA}'"
            raise InputError(
                "a weight has scales in two spellings, and they may differ",
                where=f"{self.where}: {self.there[OLD_SCALE]}, {other}",
                fix="get the file again from the program that quantised it",
            )
        if SMOOTHING in self.there:
            raise self._refused(f"'{SMOOTHING}', which smooths its inputs, is not read", SMOOTHING)
        made = self._made(weight, config)
        parts = tuple(name for word, name in self.there.items() if word not in INPUTS)
        nbytes = weight.nbytes + sum(self.tensors[part].nbytes for part in parts)
        stored = Stored(made.kind, nbytes, made.rounding, made.error)
        size = 4 * _product(made.shape)
        info = TensorInfo(self.name, "F32", made.shape, weight.begin, weight.begin + size, stored)
        yield Layer(info, made.coding, parts, unused)

    def _config(self) -> Mapping[str, object] | None:
        name = self.there.get(CONFIG)
        if name is None:
            return self.told
        info = self.tensors[name]
        if info.dtype not in ("U8", "I8") or info.nbytes > _LONGEST_CONFIG:
            raise InputError(
                "it should be a short JSON text as uint8",
                where=f"{self.where}, tensor '{name}'",
                fix=_DAMAGED,
            )
        text = bytearray(info.nbytes)
        self.read(name, 0, memoryview(text))
        return _json(bytes(text), f"{self.where}, tensor '{name}'")

    def _made(self, weight: TensorInfo, config: Mapping[str, object] | None) -> _Made:
        if config is not None:
            name = config.get("format")
            make = _FORMATS.get(name) if isinstance(name, str) else None
            if make is None:
                raise InputError(
                    f"the quantised format '{name}' is not read",
                    where=f"{self.where}, tensor '{self.name}'",
                    fix=_GET_ANOTHER,
                )
            return make(self, weight, config)
        if weight.dtype in _FP8:
            return _fp8(self, weight, {"format": f"float8_{weight.dtype[3:].lower()}"})
        raise self._refused(
            f"its scale is for fp8 weights, and it is {weight.dtype}, which nothing in the file explains",
            OLD_SCALE if OLD_SCALE in self.there else NEW_SCALE,
        )

    def _refused(self, what: str, word: str) -> InputError:
        return InputError(
            f"the quantised weight '{self.name}' is not read: {what}",
            where=f"{self.where}: {self.there.get(word, self.name)}",
            fix=_GET_ANOTHER,
        )

    def scale(self, *words: str) -> TensorInfo:
        """The scale under one of these words; InputError when it is missing."""
        name = next((self.there[word] for word in words if word in self.there), None)
        if name is None:
            raise InputError(
                f"a scale of a quantised weight is missing: '{self.name.removesuffix('weight')}{words[-1]}'",
                where=f"{self.where}, tensor '{self.name}'",
                fix=_DAMAGED,
            )
        return self.tensors[name]

    def check_weight(self, weight: TensorInfo, dtypes: tuple[str, ...], *, matrix: bool = False) -> None:
        """InputError for a weight of another dtype, or that is no matrix where it has to be."""
        if weight.dtype not in dtypes or not weight.numel or (matrix and len(weight.shape) != 2):
            shape = list(weight.shape)
            raise InputError(
                f"a quantised weight does not fit its format: it is {weight.dtype} of shape {shape}",
                where=f"{self.where}, tensor '{self.name}'",
                fix=_DAMAGED,
            )

    def misshapen(self, scale: TensorInfo, weight: TensorInfo) -> InputError:
        return InputError(
            f"a scale does not fit its weight: it is {scale.dtype} of shape {list(scale.shape)}, "
            f"the weight {list(weight.shape)}",
            where=f"{self.where}, tensor '{scale.name}'",
            fix=_DAMAGED,
        )

    def plain_scales(self, weight: TensorInfo, *words: str) -> StoredScales:
        """One scale for the tensor, one for each row, or one for each block of a row of a matrix."""
        scale = self.scale(*words)
        run = _run(weight.shape, scale.shape)
        if not run or scale.dtype not in NUMBERS:
            raise self.misshapen(scale, weight)
        return StoredScales(scale.name, scale.dtype, run)

    def tiled_scales(
        self, weight: TensorInfo, run: int, columns: int, dtype: str, whole: TensorInfo | None
    ) -> TiledScales:
        """A scale for each block of a row, in tiles."""
        scale, rows = self.scale(NEW_SCALE), weight.shape[0]
        blocks = columns // run
        size = -(-rows // 128) * 128 * -(-blocks // 4) * 4
        if columns % run or scale.dtype not in (dtype, "U8") or scale.numel != size:
            raise self.misshapen(scale, weight)
        if whole is not None and (whole.numel != 1 or whole.dtype not in NUMBERS):
            raise self.misshapen(whole, weight)
        second = None if whole is None else (whole.name, whole.dtype)
        return TiledScales(scale.name, dtype, run, blocks, second)


@dataclass(frozen=True)
class _Made:
    """A layer as it is read."""

    kind: str
    shape: tuple[int, ...]
    coding: Coding
    rounding: float
    error: float = 0.0


def _run(shape: tuple[int, ...], scales: tuple[int, ...]) -> int:
    """How many elements in a row share one of the scales; 0 where they do not fit."""
    count, numel = _product(scales), _product(shape)
    if count == 1:
        return numel
    rows = shape[0] if shape else 1
    if scales[0] != rows or count % rows:
        return 0
    blocks, columns = count // rows, numel // rows
    if blocks == 1:
        return columns
    fits = len(shape) == 2 and columns % blocks == 0 and scales in ((rows, blocks), (rows, blocks, 1))
    return columns // blocks if fits else 0


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


_FP8 = {"F8_E4M3": ("E4M3", 3), "F8_E5M2": ("E5M2", 2)}


def _fp8(reader: _Reader, weight: TensorInfo, config: Mapping[str, object]) -> _Made:
    dtype = "F8_E5M2" if str(config["format"]).endswith("e5m2") else "F8_E4M3"
    reader.check_weight(weight, (dtype, "U8"))
    scales = reader.plain_scales(weight, OLD_SCALE, NEW_SCALE)
    coding = ScaledCodes(reader.name, table(dtype), scales, weight.numel)
    label, mantissa = _FP8[dtype]
    return _Made(f"scaled fp8 ({label})", weight.shape, coding, float_rounding(mantissa))


def _int8(reader: _Reader, weight: TensorInfo, config: Mapping[str, object]) -> _Made:
    params = config.get("params")
    choices = {**(params if isinstance(params, dict) else {}), **config}
    turned = bool(choices.get("convrot"))
    reader.check_weight(weight, ("I8", "U8"), matrix=turned)
    scales = reader.plain_scales(weight, NEW_SCALE)
    group = choices.get("convrot_groupsize", 256) if turned else 0
    if turned and not _is_group(group, weight.shape[1]):
        raise InputError(
            f"rows of {weight.shape[1]} cannot be turned in groups of {group!r:.20}",
            where=f"{reader.where}, tensor '{reader.name}'",
            fix=_DAMAGED,
        )
    assert isinstance(group, int)
    coding = ScaledCodes(reader.name, table("I8"), scales, weight.numel, rotation=group)
    kind = "int8, rotated" if turned else "int8"
    some = read_numbers(reader.read, scales.name, scales.dtype, 0, min(weight.numel // scales.run, _SOME))
    error = math.sqrt(float((some.astype("f8") ** 2).mean()) / 12)
    return _Made(kind, weight.shape, coding, 0.0, error)


def _is_group(size: object, columns: int) -> bool:
    """Whether it is a power of 4, of which rows hold a whole number."""
    if not isinstance(size, int) or isinstance(size, bool) or not 4 <= size <= _LARGEST_GROUP:
        return False
    return columns % size == 0 and math.log2(size) % 2 == 0


def _mxfp8(reader: _Reader, weight: TensorInfo, config: Mapping[str, object]) -> _Made:
    reader.check_weight(weight, ("F8_E4M3", "U8"), matrix=True)
    scales: Scales = reader.tiled_scales(weight, 32, weight.shape[1], "F8_E8M0", None)
    coding = ScaledCodes(reader.name, table("F8_E4M3"), scales, weight.numel)
    return _Made("mxfp8", weight.shape, coding, float_rounding(3))


def _nvfp4(reader: _Reader, weight: TensorInfo, config: Mapping[str, object]) -> _Made:
    reader.check_weight(weight, ("U8",), matrix=True)
    shape = (weight.shape[0], 2 * weight.shape[1])
    second = reader.scale(SECOND_SCALE)
    scales: Scales = reader.tiled_scales(weight, 16, shape[1], "F8_E4M3", second)
    coding = ScaledCodes(reader.name, table("E2M1"), scales, 2 * weight.numel, bits=4)
    return _Made("nvfp4", shape, coding, FP4_ROUNDING)


FP4_ROUNDING = 0.109
"""Of normal weights in E2M1 with a scale for every 16, measured, and a tenth more."""

_FORMATS = {
    "float8_e4m3fn": _fp8,
    "float8_e5m2": _fp8,
    "int8_tensorwise": _int8,
    "mxfp8": _mxfp8,
    "nvfp4": _nvfp4,
}
