"""A LoRA with other numbers in its factors; the rest stays.

The rank, the names, alpha and the dtype are those of the file, and tensors that do not change keep their
bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.adapters.inherited import inherited
from loralathe.adapters.kinds import kinds_named
from loralathe.adapters.rewrite import PLAIN
from loralathe.tensorfiles import (
    AdapterWriter,
    from_torch_dtype,
    made_folders,
    open_tensorfile,
    tensor_bytes,
    to_torch_dtype,
)

if TYPE_CHECKING:
    from torch import Tensor

    from loralathe.adapters.adapter import Adapter
    from loralathe.adapters.module import AdapterModule
    from loralathe.lowrank import Factors


def has_plain_factors(module: AdapterModule) -> bool:
    """Whether what it changes is up·down of its file, whatever the weight: LoRA and LoCon, no DoRA."""
    return not module.needs_weight and all(map(_is_plain, _pieces(module)))


def _is_plain(module: AdapterModule) -> bool:
    kind, _ = kinds_named(module.kind)
    return kind is not None and kind.id in PLAIN and "down" in module.tensors


def down_keys(module: AdapterModule) -> tuple[str, ...]:
    """The tensors that `mapped_downs` changes."""
    return tuple(piece.tensors["down"].name for piece in _pieces(module))


def _pieces(module: AdapterModule) -> list[AdapterModule]:
    return [piece for _, piece in module.pieces] or [module]


def mapped_downs(
    adapter: Adapter, module: AdapterModule, change: Callable[[Tensor], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """(key, changed `down`) of each `down` of a module with plain factors, in the dtype of the file.

    change: (rows, in) → (rows, in), in float64; of a convolution each place of the kernel has rows of its
    own, (rank·k·k, channels).
    """
    for piece in _pieces(module):
        info = piece.tensors["down"]
        down = adapter.file.read(info.name).double().movedim(1, -1)
        made = change(down.reshape(-1, down.shape[-1])).reshape(down.shape).movedim(-1, 1)
        yield info.name, made.to(to_torch_dtype(info.dtype)).contiguous()


def replaced_factors(module: AdapterModule, factors: Factors) -> Iterator[tuple[str, Tensor]]:
    """(key, tensor) of each factor of a module, from those that `load_factors` gave, with other numbers.

    `up` of a module whose rows are apart in the file, or the other way round, is left as it is.
    """
    row = 0
    for piece in _pieces(module):
        info = piece.tensors["down"]
        own = factors.down[row : row + info.shape[0]]
        row += info.shape[0]
        yield info.name, own.reshape(info.shape).to(to_torch_dtype(info.dtype)).contiguous()
    if not module.pieces and not module.swapped:
        info = module.tensors["up"]
        up = factors.up / module.scale
        yield info.name, up.reshape(info.shape).to(to_torch_dtype(info.dtype)).contiguous()


def write_replaced(
    source: Path,
    output: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    force: bool = False,
    inputs: Iterable[Path] = (),
) -> Path:
    """Write `source` with these tensors in the place of those of their names, and `metadata` beside its own.

    Raises as `AdapterWriter` does.
    """
    with open_tensorfile(source) as file, made_folders([output]):
        kept = inherited(file.header.metadata)
        with AdapterWriter(output, {**kept, **metadata}, force=force, inputs=[source, *inputs]) as writer:
            for key, info in file.header.tensors.items():
                if key in tensors:
                    tensor = tensors[key]
                    shape = tuple(tensor.shape)
                    writer.add(key, from_torch_dtype(tensor.dtype), shape, tensor_bytes(tensor))
                else:
                    writer.add(key, info.dtype, info.shape, file.read_bytes(key))
            file.require_unchanged()
            return writer.commit()
