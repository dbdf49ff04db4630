"""A second device on a machine without one: real numbers, kept apart from those of the processor.

Tensors "on" it are wrapped CPU tensors that say another device. Inside `pretended_gpu()` every operation is
looked at: operands on different devices are an error, as on a GPU (numbers without dimensions may come from
the processor), and so are reading such memory from numpy, random numbers drawn there by a generator of the
processor, sums whose order a GPU leaves open, and, where there is none, float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("lazy")
"""A device type that torch knows without a library behind it."""

COPIES = ("aten._to_copy.", "aten.copy_.", "aten.to.")
RANDOM = ("aten.rand", "aten.randn", "aten.randint", "aten.normal", "aten.bernoulli")


class There(torch.Tensor):
    """A tensor of the pretended device; `held` is where its numbers are."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> There:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            held.stride(),
            held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
            requires_grad=False,
        )
        made.held = held
        return made  # type: ignore[no-any-return]

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"There({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} on the pretended device outside of `pretended_gpu`")

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


class Watch(TorchDispatchMode):
    """Looks at every operation of the thread that entered it."""

    def __init__(self, float64: bool) -> None:
        super().__init__()
        self._float64 = float64
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = tree_flatten((args, kwargs))[0]
        tensors = [one for one in given if isinstance(one, torch.Tensor)]
        asked = next((one for one in given if isinstance(one, torch.device)), None)
        there = any(isinstance(one, There) for one in tensors)
        name = str(func)
        to_there = there if asked is None else asked.type == DEVICE.type
        if not there and not to_there:
            return func(*args, **kwargs)
        self.operations += 1
        if name == "aten._has_compatible_shallow_copy_type.default":
            return all(isinstance(one, There) for one in tensors)  # a layer's parameter can be moved in place
        if not name.startswith(COPIES):
            here = [one for one in tensors if not isinstance(one, There) and one.dim() > 0]
            if there and here and not _indexes(name, args):
                raise RuntimeError(f"Expected all tensors to be on the same device, but {name} got both")
        if name.startswith(RANDOM) and kwargs.get("generator") is not None:
            raise RuntimeError("Expected a generator of the pretended device, but found one of the CPU")
        if name.startswith("aten.index_add") and len(args[2].held.unique()) < len(args[2].held):
            raise RuntimeError("rows that are added to one another by index come in any order on a GPU")
        found = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        if not self._float64 and to_there and _any_double(found):
            raise TypeError("the pretended device doesn't support float64")
        if func._schema.is_mutable:
            # In place, or into `out`: the tensors that were given are the result.
            owners = {id(_held(one)): one for one in tensors}
            return tree_map(lambda one: owners.get(id(one), one), found)
        return tree_map(lambda one: There(one) if to_there and isinstance(one, torch.Tensor) else one, found)


class _FromLists(TorchFunctionMode):
    """What no dispatch mode can see: `torch.tensor` and `as_tensor` copy numbers to a device, and `.data =`
    moves a parameter there and back.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        if getattr(func, "__name__", "") == "__set__" and isinstance(args[0], There) != isinstance(
            args[1], There
        ):
            moved = torch.nn.Parameter(args[1], requires_grad=False)
            torch.utils.swap_tensors(args[0], moved)
            return None
        return func(*args, **kwargs)


def _held(one: Any) -> Any:
    if isinstance(one, There):
        return one.held
    return torch.device("cpu") if isinstance(one, torch.device) else one


def _any_double(found: Any) -> bool:
    return any(isinstance(one, torch.Tensor) and one.dtype == torch.float64 for one in tree_flatten(found)[0])


def _indexes(name: str, args: Any) -> bool:
    """Indices may come from the processor where a tensor is read or written by them."""
    return name.startswith(("aten.index.Tensor", "aten.index_put")) and isinstance(args[0], There)


@contextmanager
def pretended_gpu(*, float64: bool = True) -> Iterator[Watch]:
    """The pretended device is there; the watch counts what was done on it."""
    watch = Watch(float64)
    with watch, _FromLists():
        yield watch
