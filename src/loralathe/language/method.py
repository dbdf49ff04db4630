"""What a merge method is: a look at the whole tensor first where it needs one, then row by row.

No method holds a whole tensor. Statistics (norms, order statistics) come from passes over bands of rows;
the result is made band by band, like any other term of a formula.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from loralathe.strengths import Strength, effective

if TYPE_CHECKING:
    from torch import Tensor

Values = Sequence["Tensor"]
"""The arguments at some rows, one fp32 tensor (rows, columns) each; not to be changed."""

MakeRows = Callable[[Values, range], "Tensor"]
"""(values of the arguments, which rows they are) → these rows of the result, fp32."""


class ModuleAddress(Protocol):
    """Where a tensor sits: its canonical name, and its block if it has one."""

    @property
    def name(self) -> str: ...
    @property
    def block(self) -> str | None: ...


class Arguments(Protocol):
    """A method's arguments at one tensor (a slice of it, where a file stores q, k and v as one).

    shape: of that tensor, row-major (rows, …); bands and rows are matrices (rows, columns).
    """

    @property
    def address(self) -> ModuleAddress: ...
    @property
    def shape(self) -> tuple[int, ...]: ...

    def bands(self) -> Iterator[Values]:
        """All rows in order; values are valid until the next ones are asked for."""
        ...

    def rows(self, start: int, stop: int) -> Values:
        """Rows [start, stop)."""
        ...


@dataclass(frozen=True)
class Method:
    """Base of all methods; a subclass's fields are its parameters, equal parameters make equal leaves.

    passes:  how often `prepare` reads the tensor; 0: row by row, without a look at the whole.
    scratch: how many bands its temporaries take, for the memory plan.
    gain:    rms of the result over rms of a delta that is white noise, for the noise floor of extractions.
    by_rows: False where `prepare` reads what it needs, neighbouring rows too; its rows get no values.
    """

    name: ClassVar[str]
    passes: ClassVar[int] = 0
    scratch: ClassVar[int] = 8
    by_rows: ClassVar[bool] = True

    @property
    def gain(self) -> float:
        return 1.0

    @property
    def amounts(self) -> tuple[Strength, ...]:
        """Parameters that may have block weights, to be checked against the model."""
        return ()

    def touches(self, address: ModuleAddress) -> bool:
        """Whether the result can be other than zero there; asked of methods whose result is a delta."""
        return True

    def prepare(self, tensor: Arguments) -> MakeRows:
        """Look at the whole tensor if need be; the function that makes any of its rows."""
        raise NotImplementedError


Pair = tuple["Tensor", "Tensor"]
"""up (out, r) and down (r, in·k·k) of a change, every scale inside."""


@dataclass(frozen=True)
class FactorMethod(Method):
    """A method of LoRAs alone: computed on their thin factors, and its result has such factors, too."""

    def most(self, ranks: Sequence[int]) -> int:
        """The largest rank of the result, from those of the arguments."""
        return sum(ranks)

    def of_factors(self, arguments: Sequence[Pair | None], *, turned: bool) -> Pair | None:
        """Factors of the result in float64, from those of the arguments in float64; None where one has none.

        turned: the layer is stored as (in, out), so that rows are its inputs.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Same(Method):
    """The value itself, computed before block weights are attached to it a second time."""

    name = "same"
    scratch = 0

    def prepare(self, tensor: Arguments) -> MakeRows:
        return lambda values, rows: values[0]


def amount_at(amount: Strength, address: ModuleAddress) -> float:
    """A number or block list at one tensor."""
    return effective(amount, address)
