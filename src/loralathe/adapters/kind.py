"""A kind of adapter: how its tensors are called, what their shapes make, and what they change.

A kind is one file in `kinds/`. Its change is either a difference by itself, given as exact `factors`, or it
depends on the weight that it meets: then `change` makes it of the module and that weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from loralathe.errors import InputError
from loralathe.tensorfiles import DTYPES, TensorInfo

if TYPE_CHECKING:
    import torch

    from loralathe.lowrank import Factors, Hadamard, Kronecker

ANY = -1
"""A size that a module's tensors do not tell, in the shape of a kind that depends on the weight."""

Tensors = Mapping[str, TensorInfo]
"""Part of a module, in the words of its kind → where it lies."""

Shapes = Mapping[str, tuple[int, ...]]
"""Part of a module, as the file spells it → shape."""

MakeChange = Callable[["torch.Tensor", range], "torch.Tensor"]
"""(rows of the weight, which rows they are) → these rows of the change, fp32; the weight stays as it is."""


class Weight(Protocol):
    """The weight that a module changes, in fp32; its rows are (rows, in·k·k).

    shape: (out, in) or (out, in, k, k), or (channels,).
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def bands(self) -> Iterator[torch.Tensor]:
        """All rows in order, a few at a time; valid until the next ones are asked for."""
        ...

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows [start, stop)."""
        ...


@dataclass(frozen=True, slots=True)
class DeltaShape:
    """What a module's tensors make.

    shape:   of the change, (out, in), (out, in, k, k), or (channels,); sizes may be ANY where it depends on
             the weight
    rank:    of the exact factors, an upper bound of the delta's; without factors, the number of rows
    divisor: alpha is divided by it; None where the kind has no scale
    whole:   there is no factor to scale by, but PEFT scales by the rank in its notes all the same
    """

    shape: tuple[int, ...]
    rank: int
    divisor: int | None
    whole: bool = False


@dataclass(frozen=True)
class ModuleHeader:
    """A module's tensors as the header tells of them, and the checks that kinds make of their shapes.

    kind:   in the words of people;  raw_name: of the module, as the file spells it
    kernel: of the layer, for kinds that store a convolution as a matrix
    inside: for a kind whose tensors stand beside another's: what that one makes
    settings: what PEFT's config says of it, see Kind
    bias:   the module is the bias of a layer, whose tensors change both
    scalar: the value of a tensor of one element; NaN where only the header is at hand
    """

    path: str
    raw_name: str
    kind: str
    tensors: Tensors
    kernel: int
    scalar: Callable[[TensorInfo], float] = lambda _: math.nan
    inside: DeltaShape | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    bias: bool = False

    def place(self, info: TensorInfo) -> str:
        return f"{self.path}, tensor '{info.name}'"

    def check_missing(self, missing: Sequence[str]) -> None:
        """Raises InputError when the module lacks tensors."""
        if missing:
            raise InputError(
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing "
                f"in this {self.kind} module",
                where=f"{self.path}, module '{self.raw_name}'",
                fix="download or save the file again; it is incomplete",
            )

    def check_floats(self) -> None:
        for part, info in self.tensors.items():
            if info.shape and part != "alpha" and not DTYPES[info.dtype].is_float:
                raise InputError(
                    f"a factor of this {self.kind} module has dtype {info.dtype}",
                    where=self.place(info),
                    fix="factors are floating-point; quantised LoRAs are not read",
                )

    def check_axes(self, info: TensorInfo, fits: bool, wanted: str) -> None:
        if not fits or 0 in info.shape:
            raise InputError(
                f"a factor of this {self.kind} module has shape {list(info.shape)}; it should be {wanted}",
                where=self.place(info),
                fix="the file is damaged or not a LoRA; save it again with the program that made it",
            )

    def check_ranks(self, left: TensorInfo, right: TensorInfo, axes: tuple[int, int]) -> None:
        """Axis axes[0] of the left factor meets axis axes[1] of the right one."""
        if left.shape[axes[0]] != right.shape[axes[1]]:
            raise InputError(
                f"ranks differ: {left.shape[axes[0]]} in shape {list(left.shape)}, "
                f"{right.shape[axes[1]]} in {right.name} of shape {list(right.shape)}",
                where=self.place(left),
                fix="the file is damaged; save it again with the program that made it",
            )

    def unflattened(self, info: TensorInfo, width: int) -> tuple[int, ...]:
        """(in,) or (in, k, k) of a factor that stores a kernel's columns in one axis of `width`."""
        if self.kernel <= 1:
            return (width,)
        if width % self.kernel**2:
            raise InputError(
                f"a factor of {width} columns for a convolution of {self.kernel}×{self.kernel}",
                where=self.place(info),
                fix="the LoRA was made for another model, or the file is damaged",
            )
        return (width // self.kernel**2, self.kernel, self.kernel)


@dataclass(frozen=True)
class ModuleData:
    """A module of an open adapter, its tensors read when they are asked for.

    shape: of the change, see DeltaShape;  scale: alpha / rank;  read: part → tensor;
    load:  the exact factors of the module's own kind, the scale inside;
    settings: what PEFT's config says of it, see Kind.
    """

    tensors: Tensors
    shape: tuple[int, ...]
    scale: float
    read: Callable[[str], torch.Tensor]
    load: Callable[[], Factors]
    settings: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def _plain(self) -> Factors:
        from loralathe.lowrank import flatten_tucker

        return flatten_tucker(self.load())

    def delta(self, rows: range) -> torch.Tensor:
        """These rows of the product of the factors, (rows, in·k·k), alpha / rank applied."""
        up, down = self._plain.up, self._plain.down
        total = up.new_zeros(len(rows), down.shape[1])
        return total.addmm_(up[rows.start : rows.stop], down)


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of adapter.

    id, label:   its name in reports, and in the words of people
    parts:       name of a tensor in files → the kind's own word for it
    delta_shape: from the header: what the tensors make. Raises InputError for those that make no sense.
                 None where the kind is recognised and not read.
    factors:     the difference as exact factors, without the scale
    product:     the difference as a product of small matrices, without the scale: to be measured, not applied
    change:      the change of a weight, for kinds that depend on it
    beside:      its tensors stand beside those of another kind, whose change it changes
    bare:        the same for names that show nothing and count only beside the kind's others, as `weight`
    biases:      parts that are the difference of a bias, which is a module of its own
    both:        whether a module's tensors change the bias of its layer, too, where it has one
    core:        parts that make the name of the kind end in '-tucker'
    refused:     names of tensors that show the kind and are not understood
    variant:     the id of the kind that a module's shapes show, where two kinds have the same tensors
    ranked:      names in files of tensors whose first axis is the rank
    layered:     names in files of tensors with the layer's own axes, (…, in) or (…, in, k, k)
    inputs:      how many inputs a linear module has, where no `layered` tensor tells; 0 where none does
    rank:        the rank of a module, where no `ranked` tensor tells; None where none does
    settings:    fields of PEFT's config without which the tensors mean nothing
    """

    id: str
    label: str
    parts: Mapping[str, str]
    delta_shape: Callable[[ModuleHeader], DeltaShape] | None = None
    factors: Callable[[ModuleData], Factors] | None = None
    product: Callable[[ModuleData], Hadamard | Kronecker] | None = None
    change: Callable[[ModuleData, Weight], MakeChange] | None = None
    beside: bool = False
    bare: Mapping[str, str] = field(default_factory=dict)
    biases: Collection[str] = ()
    both: Callable[[Shapes], bool] | None = None
    core: Collection[str] = ()
    refused: Collection[str] = ()
    variant: Callable[[Shapes], str] | None = None
    ranked: Collection[str] = ()
    layered: Collection[str] = ()
    inputs: Callable[[Shapes], int] | None = None
    rank: Callable[[Shapes], int | None] | None = None
    settings: Collection[str] = ()


def smaller_side(shape: tuple[int, ...]) -> int:
    """The rank that no delta of this shape exceeds."""
    return min(shape[0], math.prod(shape[1:]))
