"""The types of tensors in GGUF files: how many numbers a block holds, and in how many bytes.

From ggml's documentation of the format. Numbers of blocks are made by the `gguf` package, which is asked for
only then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loralathe.errors import MachineError
from loralathe.tensorfiles.quantised.coding import ReadPart
from loralathe.tensorfiles.quantised.tables import step_rounding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[Any]


@dataclass(frozen=True, slots=True)
class BlockType:
    """One quantised type. size: numbers in a block;  nbytes: of it;  run: numbers of one scale.

    bits: of equal steps that are about as fine as its codes
    """

    name: str
    size: int
    nbytes: int
    bits: int
    run: int

    @property
    def rounding(self) -> float:
        """rms rounding error over rms weight, of normal weights in equal steps."""
        return step_rounding(self.run, 2 ** (self.bits - 1))


PLAIN: Mapping[int, str] = {
    0: "F32", 1: "F16", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16",
}  # fmt: skip
"""Number of a type → dtype, where tensors are stored number by number."""
BLOCKS: Mapping[int, BlockType] = {
    2: BlockType("Q4_0", 32, 18, 4, 32),
    3: BlockType("Q4_1", 32, 20, 4, 32),
    6: BlockType("Q5_0", 32, 22, 5, 32),
    7: BlockType("Q5_1", 32, 24, 5, 32),
    8: BlockType("Q8_0", 32, 34, 8, 32),
    10: BlockType("Q2_K", 256, 84, 2, 16),
    11: BlockType("Q3_K", 256, 110, 3, 16),
    12: BlockType("Q4_K", 256, 144, 4, 32),
    13: BlockType("Q5_K", 256, 176, 5, 32),
    14: BlockType("Q6_K", 256, 210, 6, 16),
    16: BlockType("IQ2_XXS", 256, 66, 2, 32),
    17: BlockType("IQ2_XS", 256, 74, 2, 16),
    18: BlockType("IQ3_XXS", 256, 98, 3, 32),
    19: BlockType("IQ1_S", 256, 50, 2, 32),
    20: BlockType("IQ4_NL", 32, 18, 4, 32),
    21: BlockType("IQ3_S", 256, 110, 3, 32),
    22: BlockType("IQ2_S", 256, 82, 2, 16),
    23: BlockType("IQ4_XS", 256, 136, 4, 32),
    29: BlockType("IQ1_M", 256, 56, 2, 16),
    34: BlockType("TQ1_0", 256, 54, 1, 256),
    35: BlockType("TQ2_0", 256, 66, 1, 256),
    39: BlockType("MXFP4", 32, 17, 3, 32),
}
"""Number of a type → its blocks."""


@dataclass(frozen=True)
class Blocks:
    """A tensor in blocks, one after the other, whatever its shape."""

    name: str
    number: int

    def fill(self, read: ReadPart, first: int, values: Values) -> None:
        import numpy as np

        kind, decode = BLOCKS[self.number], gguf_package().quants.dequantize
        start, stop = first // kind.size, -(-(first + len(values)) // kind.size)
        raw = np.empty((stop - start) * kind.nbytes, np.uint8)
        read(self.name, start * kind.nbytes, raw.data)
        found = decode(raw, gguf_package().GGMLQuantizationType(self.number)).reshape(-1)
        before = first - start * kind.size
        values[:] = found[before : before + len(values)]


def gguf_package() -> Any:  # it has no types of its own
    """The `gguf` package; MachineError when it is not installed."""
    try:
        import gguf
    except ImportError as error:
        raise MachineError(
            "quantised GGUF files need a package that is not installed",
            where=str(error),
            fix='pip install "loralathe[gguf]"',
        ) from error
    return gguf
