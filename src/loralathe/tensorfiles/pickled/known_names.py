"""The names that a model's pickle may mention, each with a stand-in of ours. Nothing here is imported or run.

Three kinds: functions that make tensors (torch.save), plain containers, and leftovers of training programs
that are put aside unread: Lightning's callbacks, numpy's scalars, omegaconf's settings. The leftovers are the
names that web UIs allow in checkpoints, plus those of common trainers' settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from loralathe.tensorfiles.dtypes import DTYPES


class Fault(ValueError):  # noqa: N818 -- a fault of the file, not of this program
    """A pickle is damaged or refused; the reader adds the file. `at` is a byte of the stream, if known."""

    def __init__(self, what: str, fix: str | None = None, *, at: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.at = at


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of `count` elements that tensors look into. dtype None: untyped, `count` is bytes."""

    key: str
    dtype: str | None
    count: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor: elements `offset + Σ index·stride` of a storage. stride and offset in elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Opaque:
    """A value that a model does not need (a callback, a random state): takes anything, does nothing."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


Call = Callable[[tuple[object, ...]], object]


@dataclass(frozen=True, slots=True)
class Name:
    """A name that the file mentions, and our stand-in for calling it."""

    name: str
    call: Call


@dataclass(frozen=True, slots=True)
class StorageType:
    """`torch.HalfStorage` and the like; None is torch.storage.UntypedStorage."""

    dtype: str | None


@dataclass(frozen=True, slots=True)
class DTypeName:
    """`torch.float16` as a value; `dtype` None where safetensors does not have it."""

    name: str
    dtype: str | None


STORAGES = {
    "Bool": "BOOL",
    "Byte": "U8",
    "Char": "I8",
    "Short": "I16",
    "Int": "I32",
    "Long": "I64",
    "Half": "F16",
    "BFloat16": "BF16",
    "Float": "F32",
    "Double": "F64",
    "ComplexFloat": "C64",
}
FURTHER_DTYPES = ("complex128", "complex32", "qint8", "quint8", "qint32", "bits8")
"""dtypes of torch that the format lacks: as values they are harmless."""
LEFTOVERS = frozenset({
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "lightning.pytorch.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.dtype",
    "numpy.ndarray",
    "_codecs.encode",
    "argparse.Namespace",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "datetime.datetime",
    "datetime.timedelta",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.nodes.AnyNode",
    "typing.Any",
    *(f"{module}.{name}" for module in ("__builtin__", "builtins") for name in (
        "set", "frozenset", "dict", "list", "tuple", "int", "float", "bool", "str", "complex", "bytearray",
    )),
    "torch.device",
    "torch.Generator",
})  # fmt: skip
CONVERT = (
    "do not open it in programs that run pickles; get the safetensors version, or, if you trust where it "
    "came from, load it with torch.load(weights_only=True) and save its tensors as safetensors"
)


def look_up(module: str, name: str) -> object:
    """The stand-in for a name in a pickle; Fault for any other name."""
    full = f"{module}.{name}"
    found = KNOWN.get(full)
    if found is None:
        raise Fault(
            f"the pickle asks for '{full[:80]}', which a model does not need: the file may be malicious",
            CONVERT,
        )
    return found


def _rebuild(arguments: tuple[object, ...]) -> TensorRef:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …, metadata)."""
    match arguments:
        case (Storage() as storage, offset, size, stride, _, _, *rest) if storage.dtype is not None:
            _check_plain(rest)
            return _tensor(storage, storage.dtype, offset, size, stride)
    raise Fault("a tensor whose description makes no sense")


def _rebuild_untyped(arguments: tuple[object, ...]) -> TensorRef:
    """torch._utils._rebuild_tensor_v3(storage, offset, size, stride, …, dtype, metadata): newer dtypes."""
    match arguments:
        case (Storage() as storage, offset, size, stride, _, _, DTypeName(name, dtype), *rest):
            if dtype is None:
                raise Fault(f"a tensor of dtype {name}, which safetensors does not have")
            _check_plain(rest)
            return _tensor(storage, dtype, offset, size, stride)
    raise Fault("a tensor whose description makes no sense")


def _check_plain(rest: list[object]) -> None:
    """Views that conjugate or negate on reading are marked in the metadata."""
    if any(isinstance(part, dict) and any(part.values()) for part in rest):
        raise Fault("a tensor that is stored conjugated or negated", "save the file again with plain tensors")


def _tensor(storage: Storage, dtype: str, offset: object, size: object, stride: object) -> TensorRef:
    shape, steps = _sizes(size), _sizes(stride)
    if type(offset) is not int or offset < 0 or shape is None or steps is None or len(shape) != len(steps):
        raise Fault("a tensor whose offset, size or stride makes no sense")
    return TensorRef(storage, dtype, offset, shape, steps)


def _sizes(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, tuple) or not all(type(size) is int and 0 <= size < 2**63 for size in value):
        return None
    return value


def _parameter(arguments: tuple[object, ...]) -> object:
    """torch._utils._rebuild_parameter(data, …): the tensor itself."""
    if not arguments or not isinstance(arguments[0], (TensorRef, Opaque)):
        raise Fault("a parameter that is not a tensor")
    return arguments[0]


def _from_type(arguments: tuple[object, ...]) -> object:
    """torch._tensor._rebuild_from_type_v2(function, type, arguments, state): a tensor with attributes."""
    match arguments:
        case (Name() as function, _, tuple() as inner, *_) if function.name in REBUILDERS:
            return function.call(inner)
    raise Fault("a tensor of a class that is not supported")


def _ordered_dict(arguments: tuple[object, ...]) -> dict[str, object]:
    """Empty and filled afterwards, or, by Python 2, from a list of pairs."""
    pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
    return {pair[0]: pair[1] for pair in pairs if _is_pair(pair)}


def _is_pair(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str)


def _size(arguments: tuple[object, ...]) -> object:
    if len(arguments) == 1 and isinstance(arguments[0], tuple):
        return arguments[0]
    raise Fault("a torch.Size that is not made from a tuple")


def _opaque(name: str, arguments: tuple[object, ...]) -> object:
    return Opaque(name)


def _refuse(what: str, arguments: tuple[object, ...]) -> object:
    raise Fault(what, "save the file again with plain, dense tensors")


REBUILDERS: dict[str, Call] = {
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_tensor_v3": _rebuild_untyped,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
_CALLS: dict[str, Call] = {
    **REBUILDERS,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": lambda arguments: {},
    "torch.nn.modules.container.ParameterDict": partial(_opaque, "ParameterDict"),
    "torch.Size": _size,
    "torch._utils._rebuild_sparse_tensor": partial(_refuse, "a sparse tensor"),
    "torch._utils._rebuild_qtensor": partial(_refuse, "a quantised tensor"),
    "torch._utils._rebuild_meta_tensor_no_storage": partial(_refuse, "a tensor without data"),
}


def _known() -> dict[str, object]:
    table: dict[str, object] = {name: Name(name, partial(_opaque, name)) for name in LEFTOVERS}
    table |= {name: Name(name, call) for name, call in _CALLS.items()}
    table |= {f"torch.{name}Storage": StorageType(dtype) for name, dtype in STORAGES.items()}
    table["torch.storage.UntypedStorage"] = StorageType(None)
    for name in FURTHER_DTYPES:
        table[f"torch.{name}"] = DTypeName(name, None)
    for dtype in DTYPES.values():
        if dtype.torch_name is not None:
            table[f"torch.{dtype.torch_name}"] = DTypeName(dtype.torch_name, dtype.name)
    for name in ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.Parameter"):
        table[name] = Name(name, partial(_opaque, name))
    return table


KNOWN = _known()
